"""Results for texts are kept where they are said again, and never for long ones."""

from mmaudit.text._remembered import LONGEST, remembered


def test_short_texts_are_worked_on_once_and_long_ones_each_time():
    asked = []

    @remembered(maxsize=2)
    def length(text, unit="characters"):
        asked.append(text)
        return f"{len(text)} {unit}"

    short, long = "a" * LONGEST, "a" * (LONGEST + 1)
    assert [length(short), length(short), length(long), length(long)] == ["150 characters"] * 2 + ["151 characters"] * 2
    assert asked == [short, long, long]
    assert length(short, unit="letters") == "150 letters"
    assert length(short, "letters") == "150 letters"


def test_of_many_texts_the_last_ones_are_kept():
    asked = []
    once = remembered(maxsize=3)(asked.append)
    for text in ("a", "b", "c", "d", "d", "c", "a"):
        once(text)
    assert asked == ["a", "b", "c", "d", "a"]
