"""Which words may stand for which, by the supercategories of COCO."""

from collections.abc import Mapping
from typing import NamedTuple


class Word(NamedTuple):
    """What is put in a class's place."""

    one: str
    many: str


WORDS: Mapping[str, tuple[str | Word, ...]] = {
    "accessory": (
        "coat", "T-shirt", Word("glove", "gloves"), "scarf", Word("pair of trousers", "trousers")
    ),
    "animal": ("lion", "tiger", "cheetah", "pig", "horse", "rabbit"),
    "appliance": ("washing machine", "injector", "lamp", "air conditioner", "humidifier"),
    "electronic": ("battery", "computer charger", "circuit board", "mp4 player", "headphone"),
    "food": ("berry", "mango", "pineapple", "watermelon", "olive"),
    "furniture": ("bookcase", "piano", "wardrobe", "washstand", "sofa"),
    "indoor": ("board game", "detergent", "coffee", "pencil case", "drinking straw"),
    "kitchen": ("water-tap", "juicer", "sink", "hot pot", "kettle"),
    "person": ("monkey", "gorilla"),
    "outdoor": ("tree", "billboard", "gate"),
    "sports": ("basketball", "tent", "balloon", "swimming ring", "football"),  # the paper has "ballon"
    "vehicle": ("tank", "helicopter", "bulldozer", "UFO", "scooter"),
}  # fmt: skip
"""EM-Paste, Table 6. Its words are singular, but gloves and trousers."""


class Named(NamedTuple):
    """A class of COCO. same: what else it is called. kinds: what it is also shown by, though not all of it
    is such: every puppy is a dog. A name that several classes have belongs to the first."""

    supercategory: str
    same: tuple[str, ...]
    kinds: tuple[str, ...]


_CLASSES = """
[person]
person: human, human being / man, woman, boy, girl, child, kid, baby, toddler, infant, teenager, adult, guy,
  gentleman, lady, pedestrian, passenger, tourist, skier, snowboarder, surfer, skateboarder,
  cyclist, bicyclist, biker, motorcyclist, swimmer, batter, pitcher, catcher, umpire, chef, waiter, waitress,
  worker, soldier, officer, policeman, policewoman, fireman, firefighter, bride, groom, husband, wife, mother,
  father, mom, dad, son, daughter, brother, sister, friend, businessman, businesswoman, fisherman, cowboy,
  farmer, athlete, tennis player, baseball player, soccer player, football player, basketball player
[vehicle]
bicycle: bike, push bike, pedal cycle / mountain bike, tricycle
car: automobile, motor car / taxi, cab, sedan, suv, limousine, jeep, convertible, hatchback
motorcycle: motorbike, motor bike, motor cycle / moped, scooter, motor scooter, dirt bike
airplane: aeroplane, plane, aircraft / jet, airliner, jumbo jet, biplane, fighter jet, passenger jet
bus: omnibus / minibus, double decker, school bus
train: railway train / locomotive, tram, subway train, steam engine
truck: lorry / pickup, pick up truck, fire engine
boat: / ship, sailboat, sailing boat, ferry, canoe, kayak, yacht, rowboat, motorboat, speedboat, gondola,
  raft, barge, fishing boat, cruise ship
[outdoor]
traffic light: traffic signal, stop light, traffic lamp
fire hydrant: hydrant, fire plug
stop sign:
parking meter:
bench: / park bench
[animal]
bird: / pigeon, dove, seagull, gull, parrot, duck, duckling, swan, owl, eagle, hawk, crow, raven, sparrow,
  robin, penguin, ostrich, flamingo, peacock, pelican, heron, hen, rooster, chicken, goose, stork,
  finch, parakeet, hummingbird, woodpecker
cat: kitty / kitten, tabby, siamese cat, tomcat
dog: / puppy, pup, hound, poodle, terrier, labrador, dachshund, bulldog, retriever, sheepdog, greyhound,
  dalmatian, spaniel, beagle, corgi, pug, chihuahua, husky
horse: / pony, foal, stallion, mare, colt
sheep: / lamb, ewe
cow: / cattle, bull, calf, heifer, ox
elephant:
bear: / grizzly, polar bear, bear cub
zebra:
giraffe:
[accessory]
backpack: back pack, rucksack, knapsack, haversack
umbrella: / parasol
handbag: purse, pocketbook
tie: necktie / bow tie
suitcase: luggage, baggage
[sports]
frisbee: flying disc
skis: ski
snowboard:
sports ball: ball / tennis ball, soccer ball, football, basketball, volleyball, baseball, softball,
  soccerball, rugby ball, golf ball, cricket ball
kite:
baseball bat:
baseball glove: baseball mitt, catcher mitt, catchers mitt
skateboard:
surfboard:
tennis racket: racket, racquet, tennis racquet
[kitchen]
bottle: / water bottle, wine bottle, beer bottle
wine glass: glass of wine, goblet, wineglass
cup: / mug, teacup, coffee cup
fork:
knife: / pocketknife, steak knife
spoon: / teaspoon, tablespoon
bowl:
[food]
banana:
apple:
sandwich: / burger, hamburger, cheeseburger, sub sandwich
orange: / tangerine, mandarin orange
broccoli:
carrot:
hot dog: / corn dog
pizza:
donut: doughnut
cake: / cupcake, birthday cake, cheesecake
[furniture]
chair: / armchair, rocking chair, high chair, stool, recliner, folding chair
couch: sofa, settee / loveseat, sofa bed
potted plant: pot plant, house plant, plant in a pot / flower pot, bonsai
bed: / bunk bed, crib
dining table: table, dinner table, kitchen table / coffee table, desk
toilet: / urinal, toilet bowl, toilet seat
[electronic]
tv: television, tv set, television set, tv monitor, telly / monitor, flat screen, computer monitor
laptop: laptop computer, notebook computer / computer
mouse: computer mouse, mouse computer equipment
remote: remote control, remote controller / wii remote
keyboard: computer keyboard
cell phone: cellular telephone, mobile phone, mobile, phone, telephone, smartphone, cellular phone
[appliance]
microwave: microwave oven
oven: / stove
toaster: / toaster oven
sink: washbasin / kitchen sink, bathroom sink
refrigerator: fridge / freezer
[indoor]
book: / notebook, cookbook, textbook
clock: / wall clock, alarm clock, clock tower
vase:
scissors:
teddy bear: teddy, stuffed bear
hair drier: hair dryer, blow dryer, blow drier
toothbrush: tooth brush
"""


def _parse(text: str) -> dict[str, Named]:
    """Lines "name: same, same / kind, kind" below their "[supercategory]", longer ones in several lines."""
    found: dict[str, Named] = {}
    supercategory = ""
    for line in text.replace(",\n ", ",").strip().splitlines():
        if line.startswith("["):
            supercategory = line.strip("[]")
            continue
        name, _, told = line.partition(":")
        same, _, kinds = told.partition("/")
        listed = (tuple(filter(None, map(str.strip, part.split(",")))) for part in (same, kinds))
        found[name] = Named(supercategory, *listed)
    return found


CLASSES: Mapping[str, Named] = _parse(_CLASSES)
"""COCO's 80 classes by name. What VOC calls otherwise is among `same`."""
