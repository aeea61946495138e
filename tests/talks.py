"""Made talks whose key sentence is known: ten to choose settings on, and ten others; and short texts of five topics."""

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

OTHER_TALKS: tuple[tuple[str, tuple[str, ...]], ...] = (
    (
        "Cities stay cooler in summer when their streets are lined with trees.",
        (
            "Under a row of lime trees the asphalt was twelve degrees colder.",
            "Leaves give off water, and that takes heat out of the air.",
            "In the bare square by the station the benches were too hot to sit on.",
            "A young tree needs ten years before it throws much shade.",
            "Roofs with grass on them help houses, but not the people in the street.",
            "The city will plant four thousand trees along its avenues.",
        ),
    ),
    (
        "Reading aloud to small children makes it easier for them to learn to speak.",
        (
            "Toddlers who hear a story every evening know more words at three.",
            "Parents use rarer words in a picture book than at the dinner table.",
            "A child asks for the same book again and then says its sentences along.",
            "Songs and rhymes help with the sounds of a language.",
            "Television does not answer when a child asks something.",
            "Ten minutes of reading before bed were enough in our study.",
        ),
    ),
    (
        "Glass can be melted and used again any number of times without getting worse.",
        (
            "Old bottles are broken into pieces and cleaned of paper and metal.",
            "A furnace needs less gas when half of what goes in is broken glass.",
            "White and brown bottles must not be mixed, since the colour stays.",
            "Plastic becomes brittle after it has been melted twice.",
            "The works makes a million jars a week from what people bring back.",
            "Window panes are of another glass and go to another furnace.",
        ),
    ),
    (
        "Bats find their prey in the dark by listening to the echo of their own calls.",
        (
            "The calls are so high that people cannot hear them.",
            "A moth reflects the sound, and the bat turns towards it.",
            "With its ears covered a bat flies against the wall.",
            "Just before the catch it calls two hundred times a second.",
            "Some moths hear the bat and let themselves fall to the ground.",
            "In winter bats sleep in caves and old cellars.",
        ),
    ),
    (
        "The harbour has to be dredged every year because the river fills it with sand.",
        (
            "After each flood the ships touched the ground at low tide.",
            "A dredger lifts ten thousand tons of sand in a month.",
            "The current slows down behind the pier and drops what it carries.",
            "Last autumn a freighter waited three days for deeper water.",
            "Some of the sand is brought to the beaches in the north.",
            "A longer pier would only move the sandbank further out.",
        ),
    ),
    (
        "Vaccines teach the body to fight a disease before it meets the real one.",
        (
            "The injection holds a harmless piece of the virus.",
            "White blood cells remember what that piece looks like.",
            "When the virus comes, antibodies are made within a day.",
            "Measles had almost gone from the country by then.",
            "A second dose makes the memory of the cells last longer.",
            "The arm may hurt, which shows that the body is learning.",
        ),
    ),
    (
        "Old films fade away unless their reels are kept cold and copied in time.",
        (
            "The red of the first colour films is gone after forty years.",
            "Reels that smell of vinegar have begun to shrink.",
            "In the vault it is five degrees, winter and summer.",
            "Each frame is photographed anew, which takes weeks for one film.",
            "Half of the silent films of our country are lost.",
            "Nitrate film burns even under water.",
        ),
    ),
    (
        "A good pair of shoes can be repaired many times if its sole is sewn on.",
        (
            "Glued soles come off as a whole and cannot be put back well.",
            "The cobbler cuts the thread and sews a new sole to the same leather.",
            "My own boots have had their fourth heel now.",
            "Leather has to be greased before the rain and not after it.",
            "Sewn shoes cost twice as much and last five times as long.",
            "There were thirty shoemakers in this town when I began.",
        ),
    ),
    (
        "Honest election results need two people who count every ballot separately.",
        (
            "Each pile of ballots goes from one table to the next.",
            "If both counts differ, the whole box is counted again.",
            "Anybody may watch the counting from behind the rope.",
            "A tired clerk once wrote a seven where there was a one.",
            "The boxes are sealed before the polling station opens.",
            "Machines are quick, but nobody sees what they do with a vote.",
        ),
    ),
    (
        "Snow protects the plants of the mountains from the hard frosts of winter.",
        (
            "Under half a metre of snow it is never much below zero.",
            "In winters without snow the roots of the alpine roses freeze.",
            "The air between the flakes keeps the warmth of the ground.",
            "Grouse dig themselves in when the night is clear.",
            "Where skiers have pressed it down the meadow turns green late.",
            "In May the soldanella melts its own hole through the last of it.",
        ),
    ),
)
"""As `TALKS`, written down when settings of summaries and chapters were chosen, before these were tried on them."""

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


def talk(number: int, talks: tuple[tuple[str, tuple[str, ...]], ...] = TALKS) -> list[str]:
    """The sentences of a talk with its key sentence among details and chatter, in a seeded order."""
    key, details = talks[number]
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
