"""Made talks, of five topics: ten whose key sentence is known, and short texts of each topic."""

from __future__ import annotations

import numpy as np

CHATTER = (
    "Good evening, and thank you all for coming.",
    "Can everybody in the last row hear me?",
    "We will have some time for questions at the end.",
    "Let me find the right page, one moment please.",
    "As my grandmother used to say, better late than never.",
)

TALKS: tuple[tuple[str, tuple[str, ...]], ...] = (
    (
        "Wheat harvests in this valley depend on how much rain falls in spring.",
        (
            "In dry years the ears of wheat stay small and light.",
            "Farmers measure rainfall with a gauge beside every field.",
            "Too much water in April lets the roots rot.",
            "The harvest of last summer was the best in ten years.",
            "Older kinds of grain need less water than new ones.",
            "The soil of the valley holds rain for two weeks.",
        ),
    ),
    (
        "The old bridge has to be rebuilt because its steel has rusted through.",
        (
            "Engineers found cracks in four of the steel beams.",
            "Salt on the road in winter makes iron rust faster.",
            "Trucks have not been allowed on the bridge since March.",
            "New beams will be welded at the yard and brought by barge.",
            "The paint that protects the steel had come off years ago.",
            "Rebuilding it will take two summers.",
        ),
    ),
    (
        "Regular sleep helps children learn and remember what they were taught.",
        (
            "Pupils who slept nine hours remembered twice as many words.",
            "The brain sorts the day's memories during deep sleep.",
            "Children who go to bed late are tired in the first lesson.",
            "A dark and quiet room makes falling asleep easier.",
            "Teachers noticed that rested pupils learn faster.",
            "Screens in the evening keep children awake.",
        ),
    ),
    (
        "Sailors found their way across the ocean by watching the stars.",
        (
            "The pole star shows where north is on a clear night.",
            "With a sextant one measures how high a star stands.",
            "Ships without a compass followed the constellations.",
            "On cloudy nights the navigator could only guess.",
            "Charts of the sky were as precious as charts of the coast.",
            "Captains taught young sailors the names of the stars.",
        ),
    ),
    (
        "Bees are dying in our region because pesticides poison their food.",
        (
            "Traces of pesticide were found in the pollen of most hives.",
            "A poisoned bee does not find the way back to the hive.",
            "Beekeepers lost a third of their colonies last winter.",
            "Flowers beside sprayed fields carry the poison for weeks.",
            "Where no pesticides are used the bees are healthy.",
            "Without bees the apple trees bear little fruit.",
        ),
    ),
    (
        "Trains are the cleanest way to move goods over long distances.",
        (
            "One goods train replaces fifty trucks on the motorway.",
            "Electric engines give off no smoke at all.",
            "Moving a ton by rail takes a fifth of the energy of a truck.",
            "Freight by ship is cheap but does not reach the inland towns.",
            "Half of the railway line has been electrified.",
            "Containers are lifted from the wagon in two minutes.",
        ),
    ),
    (
        "Learning an instrument needs short practice every day rather than long hours once a week.",
        (
            "Ten minutes at the piano each morning are enough to begin.",
            "Fingers forget a movement that is not practised for a week.",
            "My pupils play scales before they eat breakfast.",
            "Long practice makes the hands tired and the mind bored.",
            "A violin that lies in its case teaches nobody.",
            "Those who practise daily play the piece after a month.",
        ),
    ),
    (
        "Volcanoes warn us with small earthquakes before they erupt.",
        (
            "Seismographs on the slope record the shaking of the mountain.",
            "Rising magma breaks the rock and makes the ground tremble.",
            "Before the eruption there were three hundred quakes a day.",
            "The village was evacuated when the tremors grew stronger.",
            "Gas that escapes from the crater is another sign.",
            "Lava reached the road two days after the last quake.",
        ),
    ),
    (
        "Bread becomes light because yeast fills the dough with gas.",
        (
            "Yeast eats the sugar of the flour and gives off bubbles.",
            "Kneading makes the dough elastic, so that it holds the gas.",
            "Warm dough rises faster than cold dough.",
            "Without yeast the loaf stays flat and hard.",
            "The baker lets the dough rest for two hours.",
            "In the oven the bubbles grow until the crust is firm.",
        ),
    ),
    (
        "The library keeps old newspapers so that historians can study everyday life.",
        (
            "Advertisements show what people bought a century ago.",
            "The paper is scanned because it falls apart when touched.",
            "Historians read the letters of readers to learn their worries.",
            "Each volume is stored in a cool and dark archive.",
            "Newspapers of the war years are asked for most.",
            "Researchers find the prices of bread and shoes in them.",
        ),
    ),
)
"""The key sentence, and what goes into details."""

TOPICS = {
    "farming": (
        "The farmer ploughs the field before the seed is sown.",
        "Wheat and barley are harvested with a large combine.",
        "Manure makes the soil of the field fertile.",
        "The tractor pulls the seed drill over the acres.",
        "Cows graze on the meadow behind the barn.",
        "Hay is stored in the barn for the winter.",
        "The crop was spoiled by hail before the harvest.",
        "Farmers sell their grain to the mill in autumn.",
    ),
    "space": (
        "The rocket left the launch pad and reached orbit.",
        "Astronauts repaired the telescope outside the station.",
        "The probe photographed the rings of Saturn.",
        "Mars has two small moons and thin air.",
        "A satellite circles the planet every ninety minutes.",
        "The astronomers discovered a comet near Jupiter.",
        "The capsule landed in the ocean after eight days in orbit.",
        "Gravity of the moon pulls on the spacecraft.",
    ),
    "cooking": (
        "Fry the onions in butter until they are golden.",
        "Add salt and pepper to the soup before serving.",
        "Beat the eggs with sugar and fold in the flour.",
        "The sauce simmers for an hour on a low flame.",
        "Bake the cake in a hot oven for forty minutes.",
        "Chop the garlic and the parsley with a sharp knife.",
        "Boil the pasta in plenty of salted water.",
        "The recipe needs a spoon of olive oil and vinegar.",
    ),
    "medicine": (
        "The doctor prescribed antibiotics for the infection.",
        "Nurses measured the blood pressure of the patient.",
        "The surgeon operated on the broken hip.",
        "A vaccine protects children from measles.",
        "The patient had a fever and a bad cough.",
        "The hospital treats injuries in the emergency room.",
        "Diabetes is diagnosed with a test of the blood.",
        "The therapy helped her to recover after the stroke.",
    ),
    "football": (
        "The striker scored a goal in the last minute.",
        "The referee showed a red card after the foul.",
        "The goalkeeper saved the penalty with one hand.",
        "Their team won the match in extra time.",
        "The coach replaced two players at half time.",
        "Fans cheered in the stadium when the ball hit the net.",
        "The defender passed the ball to the midfield.",
        "The league title was decided on the last match day.",
    ),
}
VIDEOS_A_TOPIC = 6
CLIPS_A_VIDEO = 3


def talk(number: int) -> list[str]:
    """The sentences of a talk with its key sentence among details and chatter, in a seeded order."""
    key, details = TALKS[number]
    sentences = [key, *details, *CHATTER]
    return [sentences[place] for place in np.random.default_rng(number).permutation(len(sentences))]


def topic_texts() -> list[tuple[str, list[str]]]:
    """Thirty videos, each with its topic and the texts of its clips, of two sentences each."""
    generator = np.random.default_rng(5)
    found = []
    for topic, sentences in TOPICS.items():
        for _ in range(VIDEOS_A_TOPIC):
            order = generator.permutation(len(sentences))[: 2 * CLIPS_A_VIDEO]
            pairs = [(sentences[one], sentences[other]) for one, other in order.reshape(-1, 2)]
            found.append((topic, [" ".join(pair) for pair in pairs]))
    return found
