"""Invented names of shops, streets and cities. Every word here is a token of the bundled backbone's vocabulary."""


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


# A place is called by one word of each list: "Amber Bakery".
FIRST = _words(
    """Amber Anchor Apple Arbor Aspen Bamboo Beacon Birch Bluebird Bramble Bronze Canary Cedar Cherry Clover Cobalt
    Copper Coral Crystal Dahlia Dune Ember Falcon Fern Fig Garnet Ginger Golden Harbor Hazel Heron Indigo Iris Ivory
    Ivy Jade Juniper Kestrel Lark Laurel Lemon Lilac Linden Lotus Magnolia Maple Marigold Meadow Mint Misty Moss
    Nutmeg Olive Onyx Opal Orchid Otter Pearl Pepper Pine Plum Poppy Quartz Quill Raven River Robin Rowan Ruby
    Saffron Sage Scarlet Silver Sparrow Sunny Swan Tulip Velvet Violet Walnut Willow Wren"""
)
KINDS = _words(
    """Bakery Bank Barber Bistro Bookshop Cafe Chapel Cinema Clinic Deli Diner Florist Gallery Garage Grocery Gym Hotel
    Inn Jeweller Laundry Library Market Museum Optician Pharmacy Pizzeria School Station Studio Tailor Theatre
    Toyshop"""
)
STREETS = _words(
    """Abbey Alder Ash Baker Bay Bell Bridge Canal Castle Chapel Church Clay Coach Court Crane Dock Eagle Elm Ferry
    Field Forge Fountain Garden Gate Grange Grove Hill King Lake Long Mill Monk Oak Orchard Park Pond Prince
    Quarry Queen Rose School Ship Spring Star Stone Temple Tower Vine Water Well Wharf Windmill Wood"""
)
STREET_KINDS = ("Street", "Avenue", "Lane", "Road", "Place", "Row")
