"""What a study found, for people: tables for the terminal, figures, and one offline HTML page."""
