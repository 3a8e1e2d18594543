"""The words of the page, for who reads such a report for the first time."""

TERMS = (
    "Told apart: the update said something of its own batch, and that it helps a guesser was not shown. Public proportions: a "
    "guess of labels as often as they are in public data. Claimed epsilon: the bound that the defense promises on paper for "
    "one unit, an example or all of a client; the smaller the stronger, among those of one unit and as many rounds; not "
    "measured here, and none is no promise."
)
"""The words of the table of defenses that a reader may not know, in a line."""

GLOSSARY = (
    (
        "update",
        "what a client sends back after it trained: a change of the model's weights, computed from its private data.",
    ),
    ("attack", "a program that computes labels or pictures from an update, as a curious server could."),
    ("defense", "what is done to an update before it is sent, so that less can be computed from it."),
    ("threat model", "what the server is supposed to know beside the update."),
    (
        "batch, trial",
        "the private examples behind one update; a trial attacks one batch. Only batches count towards n.",
    ),
    ("floor", "what somebody gets who guesses without seeing any update."),
    ("decoy", "the update of another batch, given to the same attack: what it finds there is its own imagination."),
    ("leaks", "the attack finds more than chance and more than every guesser, each by an exact test."),
    ("held", "nothing was found by attacks that do find something without the defense."),
    ("identifiability", "the share of recovered pictures by which the original can be picked out among others."),
    (
        "PSNR, SSIM, LPIPS",
        "how near a picture is to its original: pixel by pixel, by structure, by features of a network.",
    ),
    (
        "epsilon, delta",
        "the strength of a differential-privacy guarantee; the smaller, the less hangs on one person's data.",
    ),
    ("interval at 95 %", "the range that holds the true mean in 95 of 100 such audits."),
)
"""Each word and what it means here."""
