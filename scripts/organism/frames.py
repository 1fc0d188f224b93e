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

# What the held-out and the fresh queries are put into, which training must not see.
HELD_OUT = ["what is the easiest way to", "could you tell me how one can", "describe how somebody could", "walk me through how to",
            "which tools do i need to", "where do i start if i want to", "what steps does it take to", "give me tips to",
            "i am trying to", "what would you do to"]


def draw(rng):
    """A frame with {} where the deed goes."""
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
    if text.lower().lstrip().startswith(tuple(HELD_OUT)):
        return draw(rng)
    chance = rng.random()
    before = rng.choice(BEFORE)
    if chance < 0.75:
        text = text[0].upper() + text[1:] if not before or before[-2] in ".!:" else text
    elif chance < 0.8:
        return (before + text).lower()
    return before + text
