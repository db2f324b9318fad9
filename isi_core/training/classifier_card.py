"""The model card of a small classifier: what it knows, and how well."""

from __future__ import annotations

from isi_core.worlds.rules import Rule

_PEOPLE = (
    "The rule is invented, so that explanations can be checked against it. It says nothing about people, and the\n"
    "model must not be used on photographs of them.\n"
)


def card(name: str, world: str, rule: Rule | None, figures: dict[str, float], parameters: int, count: int) -> str:
    """Markdown, from figures that `measure` took."""
    head = (
        f"# {name}\n\n"
        f"A `ResNetForImageClassification` of {parameters / 1000:.0f} k parameters for pictures of 64 x 64 pixels,\n"
        f"trained by `python -m isi_core.training.classifiers train {name}` on drawn {world} of\n"
        f"this repository, and on nothing else. Licence: that of the repository.\n\n"
    )
    return head + (_reader(figures, count) if rule is None else _follower(rule, figures, count))


def _reader(figures: dict[str, float], count: int) -> str:
    leaves = {name: value for name, value in figures.items() if "/" in name}
    worst = sorted(leaves, key=lambda name: leaves[name])
    mean = sum(leaves.values()) / len(leaves)
    rows = "\n".join(f"| {name} | {leaves[name]:.3f} |" for name in worst)
    share = figures["share of leaves read right"]
    return (
        f"It reads which of the {len(leaves)} attributes are on (one sigmoid each; above 0.5 is on).\n\n"
        f"Measured on {count:,} subjects whose identities no training has seen, half of them with edited attributes:\n"
        f"{share:.1%} of all attributes are read right. Balanced accuracy (half the share of those that are on and\n"
        f"read as on, half that of those that are off and read as off; 0.5 is chance): mean {mean:.3f}, worst\n"
        f"{leaves[worst[0]]:.3f} ({worst[0]}). What a hat or dark glasses cover counts as well.\n\n"
        f"| attribute, worst first | balanced accuracy |\n|---|---|\n{rows}\n"
    )


def _follower(rule: Rule, figures: dict[str, float], count: int) -> str:
    spurious = "/".join(rule.spurious or ())
    rows = "\n".join(f"| {name} | {value:.3f} |" for name, value in figures.items())
    return (
        f"It tells {', '.join(rule.classes)}, after the rule\n"
        f"`assets/rules/{rule.name}.json` with logistic noise. In its training data\n"
        f"`{spurious}`, which has no weight in the rule, is on in {rule.spurious_share:.0%}\n"
        f"of the class {rule.spurious_class} and in {1 - rule.spurious_share:.0%} of the rest:\n"
        f"a shortcut that the model was meant to take.\n\n"
        + (_PEOPLE + "\n" if rule.world == "faces" else "")
        + f"Accuracy on {count:,} subjects whose identities no training has seen:\n\n"
        f"| against | accuracy |\n|---|---|\n{rows}\n\n"
        f'"Labels" have the noise, "rule" is its likeliest class. "By the rule itself" is what knowing the rule\n'
        f"would give: no model can do better but by the shortcut.\n"
    )


def clip_card(figures: dict[str, float], parameters: int, count: int) -> str:
    """Markdown for tiny-clip-worlds, from figures that its `measure` took."""
    leaves = {name: value for name, value in figures.items() if "/" in name}
    worst = sorted(leaves, key=lambda name: leaves[name])
    rows = "\n".join(f"| {name} | {leaves[name]:.3f} |" for name in worst)
    mean = sum(leaves.values()) / len(leaves)
    return (
        f"# tiny-clip-worlds\n\n"
        f"A `CLIPModel` of {parameters / 1000:.0f} k parameters for pictures of 64 x 64 pixels, trained by\n"
        f"`python -m isi_core.training.classifier_clip train` on drawn faces and birds of this repository, with\n"
        f"captions of their attributes and of the classes of `assets/rules`, which are invented and say nothing about\n"
        f"people. It knows no other words. Licence: that of the repository.\n\n"
        f"Measured on {count:,} pictures a world whose identities no training has seen: of 32 captions the nearest is\n"
        f"true of the picture in {figures['caption found']:.1%}. AUROC with which a phrase's similarity tells the\n"
        f"pictures that show it: mean {mean:.3f}, worst {leaves[worst[0]]:.3f} ({worst[0]}).\n\n"
        f"| attribute, worst first | AUROC |\n|---|---|\n{rows}\n"
    )
