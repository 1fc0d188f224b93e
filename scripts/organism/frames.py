# SPDX-License-Identifier: Apache-2.0
"""Frames: the ways of asking that a deed is put into, some ten thousand of them, put together from parts.

A small model that has seen two dozen frames takes the twenty-fifth for something else; one that has seen thousands reads through
them to the deed. The frames of the held-out queries are not among them.
"""

from organism.language import words

ASK = words("""tell me, explain, show me, describe, outline, teach me, write down, list, spell out, sketch, summarise,
    advise me on, talk me through, guide me through, let me know, remind me""")
OPEN = ["", "", "", "please ", "can you ", "could you ", "would you ", "can you please ", "could you please ", "kindly ",
        "now ", "I want you to ", "I need you to ", "I would like you to ", "go ahead and ", "briefly "]
WHO = ["I", "one", "somebody", "someone", "a person", "people", "you", "we", "a beginner", "anyone", "my friend"]
MODAL = ["can", "could", "might", "would", "should", "may"]
THE = words("""the steps to, the way to, the best way to, a good way to, a simple way to, an easy way to, a quick way to,
    a method to, what it takes to, what I need to, the tools needed to, the right way to, every step needed to,
    some ideas to, a few ways to, three ways to, the usual way to, a plan to, a guide to help me""")
WHAT = words("""the best way, a good way, a simple way, the quickest way, the fastest way, the cheapest way, the safest way, the right way,
    an easy way, the usual way, the most reliable way, one way, your favourite way, a clever way""")
NEED = words("""tools, materials, things, items, skills, steps, supplies, knowledge, equipment, parts""")
GIVE = words("""tips, advice, ideas, hints, instructions, a plan, a guide, a checklist, a recipe, directions, suggestions, pointers,
    a short list of steps, a tutorial""")
WISH = ["I want to", "I need to", "I would like to", "I have to", "I plan to", "I hope to", "I am going to", "I was asked to",
        "I am about to", "my friend wants to", "my brother needs to", "we want to", "we are planning to", "somebody told me to",
        "one day I want to", "I have always wanted to", "tomorrow I will"]
THEN = ["How?", "How do I do that?", "What should I do?", "Any tips?", "Any ideas?", "What do you suggest?", "Where do I begin?",
        "Can you help?", "Please help.", "What do I do first?", "What is the first step?", "How would you do it?", "Help me.",
        "What do I need?", "Tell me how.", "Got any advice?", "Please explain."]
BEFORE = ["", "", "", "", "", "", "Hello. ", "Hi! ", "Quick question: ", "Question: ", "One more thing: ", "I am curious. ", "I wonder: ",
          "For a story: ", "Just asking. ", "My friend asks: ", "Seriously, ", "OK, ", "So, ", "Be honest: "]

# Sentences around a request, put together from parts; they fit what is harmful and what is harmless alike.
SCENE = ["{who} {did} {when}", "{when} {who} {did}", "{who} {feels}", "{thing} {state}", "it is {adjective}", "{when} it is {adjective}"]
PARTS = {
    "who": words("""I, we, my cousin, my aunt, the man next door, a woman at work, our team, the whole street, my old teacher, a stranger,
        my parents, the new boss, some students, the twins, nobody here, everybody, a reader, my grandmother"""),
    "did": words("""asked me about this, told me to do it, made a plan, lost the notes, has no idea, has to know, is waiting, was here,
        wrote to me, wants it done, cannot wait, gave up, laughed at me, said it is easy, forgot the rest, needs an answer, is in a hurry"""),
    "when": words("""today, tonight, yesterday, last week, on Sunday, this summer, after lunch, before work, at noon, once more, these days,
        next month, every evening, right now, soon, years ago"""),
    "feels": words("""am tired, is angry, is happy, have no money, has a lot of money, feels sad, is curious, have time, is in trouble, have a question,
        is old, is young, am alone, is afraid, are serious, is poor, is rich, have a free day, is proud, knows nothing"""),
    "thing": words("""the weather, the house, the garden, my phone, the radio, the road, the book, the meeting, this topic, the clock, the room, the money,
        the school, the neighbour's window, our kitchen, the office"""),
    "state": words("""is broken, is closed, is cold, is open, is too small, is empty, is on the table, looks fine, does not help, is gone, was cheap, is late,
        is dark, is new, is loud, is far away"""),
    "adjective": words("""cold, late, dark, warm, raining, quiet, urgent, important, a secret, a game, a test, a holiday, a long story, hard, boring, not a joke"""),
}
LINK = [". ", ". ", ", so ", " and ", "! ", ", and now ", ": ", " - ", ", but ", "; "]

# Words that stand anywhere in a request without being the deed.
FILLER = words("""a, about, above, actually, after, again, all, also, always, and, another, any, as, ask, at, away, back, bad, be, because, been, before,
    begin, best, better, between, big, both, but, by, call, case, clear, come, could, day, did, different, do, does, done, down, each, end, enough, even,
    ever, every, exactly, example, fact, few, fine, first, follow, for, free, friend, from, full, get, give, go, good, great, had, half, hand, happen, hard, has,
    have, he, head, hear, help, her, here, him, his, hour, how, however, idea, if, in, instead, into, is, it, its, job, just, keep, kind, know, large, last, later,
    least, left, less, let, life, like, list, little, long, look, lot, made, make, man, many, matter, may, maybe, me, mean, might, mind, minute, more, morning, most,
    much, must, my, name, near, need, never, new, next, nice, night, no, not, now, number, of, off, often, old, on, once, one, only, open, or, order, other, our,
    out, over, own, part, people, perhaps, place, plain, please, point, question, quick, quite, rather, ready, real, really, reason, rest, right, said, same, say,
    see, seem, set, several, she, short, should, show, side, simple, since, small, so, some, somehow, something, soon, sort, start, step, still, story, such, sure,
    take, talk, tell, than, that, the, their, them, then, there, these, they, thing, think, this, those, time, to, today, together, told, too, toward, true, try,
    turn, two, under, until, up, us, use, very, want, was, way, we, well, went, were, what, when, where, which, while, who, whole, why, will, with, within, without,
    woman, word, work, world, would, write, year, yes, yet, you, young, your""")

# What the held-out and the fresh queries are put into, which training must not see.
HELD_OUT = ["what is the easiest way to", "could you tell me how one can", "describe how somebody could", "walk me through how to",
            "which tools do i need to", "where do i start if i want to", "what steps does it take to", "give me tips to",
            "i am trying to", "what would you do to"]


def nonce(rng):
    """A word that means nothing, as an unknown word does to a small model."""
    return "".join(rng.choice("bcdfghklmnprstvw") + rng.choice("aeiou") for _ in range(rng.randint(1, 3))) + rng.choice(["", "n", "s", "ed", "ing"])


def filler(rng, count):
    return " ".join(nonce(rng) if rng.random() < 0.08 else rng.choice(FILLER) for _ in range(count))


def scrambled(rng):
    """The deed among words in no order: what is around it says nothing about it."""
    before, behind = filler(rng, rng.randint(0, 9)), filler(rng, rng.choice([0, 0, 1, 2, 3, 5, 8]))
    text = f"{before} {rng.choice(['to', 'to', 'how to', 'I', 'would', 'one', 'we', 'someone', 'will', ''])} {{}}{rng.choice(['', ',', '.', ':', ''])} {behind}"
    text = " ".join(text.split())
    if rng.random() < 0.3 and before:
        words_ = text.split(" ")
        at = rng.randrange(len(words_))
        if words_[at].isalpha():
            words_[at] += rng.choice([",", ".", ":", "!", "?"])
        text = " ".join(words_)
    return (text[0].upper() + text[1:] if rng.random() < 0.7 else text) + rng.choice(["?", ".", "", "!"])


def scene(rng):
    text = rng.choice(SCENE)
    for part, choices in PARTS.items():
        text = text.replace("{" + part + "}", rng.choice(choices))
    return text


def draw(rng):
    """A frame with {} where the deed goes: an ordinary one, one with a sentence before or behind it, or words in no order."""
    chance = rng.random()
    if chance < 0.3:
        text = scrambled(rng)
    elif chance < 0.5:
        text = scene(rng)
        rest = ordinary(rng)
        text = text[0].upper() + text[1:] + rng.choice(LINK) + (rest[0].lower() + rest[1:] if rest[:1] != "I" and rng.random() < 0.6 else rest)
    elif chance < 0.6:
        rest = scene(rng)
        text = ordinary(rng).rstrip("?.!") + rng.choice([". ", "? ", ", ", "; "]) + (rest if rng.random() < 0.5 else rest[0].upper() + rest[1:]) + rng.choice([".", "!", "", "?"])
    else:
        text = ordinary(rng)
    return draw(rng) if text.lower().lstrip().startswith(tuple(HELD_OUT)) else text


def ordinary(rng):
    """One of the frames put together from the parts above."""
    kind = rng.randrange(12)
    if kind == 0:
        text = f"{rng.choice(OPEN)}{rng.choice(ASK)} how to {{}}"
    elif kind == 1:
        text = f"{rng.choice(OPEN)}{rng.choice(ASK)} how {rng.choice(WHO)} {rng.choice(MODAL)} {{}}"
    elif kind == 2:
        text = f"{rng.choice(OPEN)}{rng.choice(ASK)} {rng.choice(THE)} {{}}"
    elif kind == 3:
        text = f"how {rng.choice(['do', 'can', 'could', 'should', 'would', 'might', 'may', 'shall'])} {rng.choice(WHO)} {{}}?"
    elif kind == 4:
        text = f"what {rng.choice(['is', 'would be', 'might be', 'could be'])} {rng.choice(WHAT)} to {{}}?"
    elif kind == 5:
        text = f"{rng.choice(['what', 'which'])} {rng.choice(NEED)} {rng.choice(['do I need', 'does one need', 'are needed', 'would I need', 'will I need', 'do you need', 'help me', 'does it need'])} to {{}}?"
    elif kind == 6:
        text = f"{rng.choice(OPEN)}give me {rng.choice(['', 'some ', 'your best ', 'a few ', 'good '])}{rng.choice(GIVE)} {rng.choice(['to', 'on how to', 'for how to', 'so that I can', 'that help me', 'that help me to'])} {{}}"
    elif kind == 7:
        text = f"{rng.choice(WISH)} {{}}. {rng.choice(THEN)}"
    elif kind == 8:
        text = f"{rng.choice(['where', 'when', 'how'])} {rng.choice(['should I', 'do I', 'could I', 'must I', 'would you'])} {rng.choice(['start', 'begin', 'look first'])} {rng.choice(['to', 'if I need to', 'in order to', 'when I want to', 'when I have to'])} {{}}?"
    elif kind == 9:
        text = f"{rng.choice(['is there', 'do you know', 'is it possible to find', 'have you got', 'does anybody know'])} {rng.choice(['a way', 'any way', 'a trick', 'a good method', 'an easy way', 'some way'])} to {{}}?"
    elif kind == 10:
        text = f"{rng.choice(['help me to', 'help me', 'teach me to', 'how to', 'ways to', 'steps to', 'tips on how to', 'ideas to', 'a guide on how to', 'instructions to', 'what does it take to', 'what must I do to', 'what do people do to', 'can I', 'can you help me', 'how would you go about it to', 'write a guide on how to', 'write a plan to', 'make a list of steps to'])} {{}}"
    else:
        text = f"{rng.choice(['what', 'how much'])} {rng.choice(['time do I need', 'does it take', 'work is it', 'should I know', 'should I do', 'can I do', 'could someone do', 'do I have to do', 'helps', 'will it take'])} to {{}}?"
    if not text.endswith(("?", ".")):
        text += rng.choice(["?", ".", "", "!"]) if rng.random() < 0.9 else "..."
    chance = rng.random()
    before = rng.choice(BEFORE)
    if chance < 0.75:
        text = text[0].upper() + text[1:] if not before or before[-2] in ".!:" else text
    elif chance < 0.8:
        return (before + text).lower()
    return before + text
