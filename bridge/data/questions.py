"""What kind of thing a question asks for, by its question word."""

import re

# Question words that are counted as another one.
_SAME = {"whom": "who", "whose": "who"}
_WORDS = re.compile(r"\b(who|whom|whose|what|when|where|which|why|how\s+many|how\s+much|how)\b", re.IGNORECASE)


def question_word(question: str) -> str:
    """The first question word of a question, in lower case, wherever in the question it stands.

    Returns:
        who (for whose and whom too), what, when, where, which, why, how many, how much or how; "other" where there
        is none.

    Example:
        >>> question_word("In what country is Rouen?"), question_word("How many live there?"), question_word("Name it.")
        ('what', 'how many', 'other')
    """
    match = _WORDS.search(question)
    if match is None:
        return "other"
    word = " ".join(match[1].lower().split())
    return _SAME.get(word, word)
