"""The example of the README: a verifier and a model of one's own."""

from dataclasses import dataclass

from ruleshift import Message, TextEngine, Verdict, revise


@dataclass
class Sum:
    id: str
    numbers: tuple[int, ...]

    def context(self):
        return [Message("user", f"Add up {self.numbers}. Reply with the number only.")]

    def submit(self, reply, last):
        right = reply.strip() == str(sum(self.numbers))
        return Verdict("right" if right else "wrong", float(right), right, "Right." if right else "Wrong, try again.")


def my_model(request):  # ask any model here; request.messages is the conversation so far, feedback included
    return "41" if len(request.messages) == 1 else "42"


episodes = revise([Sum("sum-1", (17, 25))], TextEngine(my_model), turns=5)
print(episodes[0].solved, "after", len(episodes[0].turns), "turns")
