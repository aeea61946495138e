"""Who or what makes AudioSet's sounds, in everyday words: a `Moo` is a cow's. Names are those of YAMNet's class map."""

from __future__ import annotations

MAKERS = {
    "people talking": ("Speech",),
    "person": ("Screaming", "Whispering", "Humming", "Groan", "Grunt", "Yell", "Shout", "Bellow", "Whoop"),
    "people": ("Hubbub, speech noise, speech babble", "Crowd", "Chatter"),
    "dog": ("Bark", "Yip", "Bow-wow", "Growling", "Whimper (dog)", "Howl"),
    "cat": ("Purr", "Meow", "Hiss", "Caterwaul"),
    "horse": ("Clip-clop", "Neigh, whinny"),
    "cow": ("Moo", "Cowbell"),
    "pig": ("Oink",),
    "sheep or goat": ("Bleat",),
    "hen": ("Cluck",),
    "rooster": ("Crowing, cock-a-doodle-doo",),
    "turkey": ("Gobble",),
    "duck": ("Quack",),
    "goose": ("Honk",),
    "bird": ("Chirp, tweet", "Squawk", "Bird flight, flapping wings"),
    "pigeon": ("Coo",),
    "crow": ("Caw",),
    "owl": ("Hoot",),
    "frog": ("Croak",),
    "insect": ("Buzz",),
    "water": ("Splash, splatter", "Slosh", "Drip", "Pour", "Trickle, dribble", "Gurgling", "Fill (with liquid)"),
    "car": ("Skidding", "Tire squeal", "Toot", "Car passing by"),
    "train": ("Clickety-clack",),
    "clock": ("Tick", "Tick-tock"),
}
"""Maker to sounds."""

MAKER_OF = {sound: maker for maker, sounds in MAKERS.items() for sound in sounds}
