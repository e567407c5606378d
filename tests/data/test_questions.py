import pytest

from bridge.data.questions import question_word


@pytest.mark.parametrize(
    ("question", "word"),
    [
        ("Who was Rollo?", "who"),
        ("Who's Rollo?", "who"),
        ("To whom did Charles give Rouen?", "who"),
        ("Whose duke was Rollo?", "who"),
        ("What is Rouen?", "what"),
        ("what's Rouen", "what"),
        ("In what century did who rule?", "what"),
        ("When did the Normans come, and where from?", "when"),
        ("Where is Rouen?", "where"),
        ("Which town is it?", "which"),
        ("Why did they come?", "why"),
        ("How many came?", "how many"),
        ("HOW\n MANY came?", "how many"),
        ("By how much did it grow?", "how much"),
        ("How did they come, and how many?", "how"),
        ("How manyfold?", "how"),
        ("Name the town.", "other"),
        ("Somewhere, somehow, whatever, whoever, somewhat?", "other"),
        ("", "other"),
    ],
)
def test_the_first_question_word_of_a_question_is_its_kind(question, word) -> None:
    assert question_word(question) == word
