import json
import re
import sys
from pathlib import Path

import pytest

from bridge.data.facts import held_out_template, relations
from bridge.data.hub import HuggingFace
from bridge.data.items import Item
from bridge.data.rosetta import rosetta_set
from bridge.data.sources import (
    Facts,
    JsonFile,
    Relations,
    Source,
    Squad,
)
from bridge.errors import DataError


def _refused(source: Source, message: str) -> None:
    with pytest.raises(DataError) as caught:
        source.load()
    assert re.fullmatch(message, str(caught.value)), str(caught.value)


def _write(path: Path, content: object) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def test_facts_are_asked_once_each_with_the_held_out_wording() -> None:
    items = Facts().load()
    assert len(items) == sum(len(relation.facts) for relation in relations().values())
    assert len({(item.relation, item.subject) for item in items}) == len(items)
    for item in items:
        relation = relations()[item.relation]
        template = relation.templates[held_out_template(relation, item.subject)]
        assert item.prompt == template.replace("{subject}", item.subject)
        assert (item.subject, item.answer) in relation.facts
    assert Facts().describe() == "facts"


def test_facts_can_be_limited_to_named_relations() -> None:
    few = Facts(relations=["young", "plural"])
    assert {item.relation for item in few.load()} == {"young", "plural"}
    assert few.describe() == "facts (young, plural)"
    assert Facts(relations=["young", "young"]).load() == Facts(relations=["young"]).load()
    _refused(
        Facts(relations=["colour"]),
        r"got the relation 'colour'; wanted one of country_continent, .*: correct .*",
    )
    _refused(Facts(relations=[]), r"got no relations; wanted at least one of country_continent, .*")


@pytest.mark.parametrize("ending", [".json", ".jsonl"])
def test_json_and_json_lines_give_the_same_items(tmp_path, ending) -> None:
    nodes = [
        {
            "prompt": "Ein Bär heißt auf Englisch",
            "answer": "bear",
            "relation": "german",
            "subject": "Bär",
            "x": 1,
        },
        {"prompt": "Two lines\u2028are", "answer": "one", "relation": None},
    ]
    lines = [json.dumps(node, ensure_ascii=False) for node in nodes]
    content = "\ufeff" + (f"[{','.join(lines)}]" if ending == ".json" else "\r\n \r\n".join(lines) + "\n")
    source = JsonFile(_write(tmp_path / f"items{ending}", content))
    assert source.load() == [
        Item("Ein Bär heißt auf Englisch", "bear", "german", "Bär"),
        Item("Two lines\u2028are", "one"),
    ]
    assert source.describe() == f"items{ending}"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "gone.json",
            None,
            r"the file .*gone\.json cannot be read \(No such file or directory\); wanted a data file: "
            r"check the path \(a relative one starts at the current folder\)",
        ),
        ("a.json", " \n", r"the file .*a\.json is empty; wanted items: check how it was written"),
        ("a.json", "[]", r"the list in .*a\.json is empty; wanted items: check how it was written"),
        ("a.jsonl", "\n", r"the file .*a\.jsonl is empty; wanted items: check how it was written"),
        (
            "a.json",
            '[\n{"prompt": }]',
            r"line 2 of .*a\.json is not JSON \(Expecting value\); wanted JSON: correct that line",
        ),
        (
            "a.jsonl",
            '{"prompt": "p", "answer": "a"}\n\n{"prompt": "p"',
            r"line 3 of .*a\.jsonl is not JSON \(Expecting ',' delimiter\); wanted JSON: correct that line",
        ),
        (
            "a.json",
            {"items": [], "name": "x"},
            r".*a\.json has the keys items, name; wanted a list of objects: put them into one list",
        ),
        (
            "a.json",
            [{"prompt": "p", "answer": "a"}, {"question": "p", "answer": "a"}],
            r"Object 1 of .*a\.json has the keys question, answer; wanted 'prompt': add it",
        ),
        (
            "a.jsonl",
            '{"answer": "a"}',
            r"Object 0 of .*a\.jsonl has the keys answer; wanted 'prompt': add it",
        ),
        ("a.jsonl", "{}", r"Object 0 of .*a\.jsonl has no keys; wanted 'prompt': add it"),
        ("a.json", ["p"], r"Object 0 of .*a\.json is str; wanted 'prompt': add it"),
        (
            "a.json",
            [{"prompt": "2 + 2 =", "answer": 4}],
            r"Object 0 of .*a\.json has int as 'answer'; wanted text: put it in quotes",
        ),
        (
            "a.json",
            [{"prompt": "p", "answer": "a", "subject": 1}],
            r"Object 0 of .*a\.json has int as 'subject'; wanted text: put it in quotes",
        ),
        (
            "a.csv",
            "p,a",
            r"got the file .*a\.csv; wanted a name ending in \.json or \.jsonl: rename or convert it",
        ),
    ],
)
def test_a_bad_json_file_is_refused_with_the_place(tmp_path, name, content, message) -> None:
    if content is not None:
        _write(tmp_path / name, content)
    _refused(JsonFile(tmp_path / name), message)


def test_a_file_that_is_not_utf8_and_a_folder_are_refused(tmp_path) -> None:
    (tmp_path / "latin.json").write_bytes('["é"]'.encode("latin-1"))
    _refused(
        JsonFile(tmp_path / "latin.json"),
        r"the file .*latin\.json is not UTF-8 text \(.*\); wanted UTF-8: save it as that",
    )
    (tmp_path / "folder.json").mkdir()
    _refused(JsonFile(tmp_path / "folder.json"), r"the file .*folder\.json cannot be read \(Is a directory\); .*")


def _squad(*questions: dict) -> dict:
    paragraph = {"context": "Rouen {question} is in France.", "qas": list(questions)}
    return {"version": "v2.0", "data": [{"title": "Normandy", "paragraphs": [paragraph]}]}


def _asked(question: str, *answers: str, **more: object) -> dict:
    return {"question": question, "answers": [{"text": text, "answer_start": 0} for text in answers], **more}


SQUAD = _squad(
    _asked("Where is Rouen? ", "in France", "France", "France ", "Gaul", id="1"),
    _asked("What is it?", "a town", is_impossible=False),
    _asked("Who made it?", "Rollo", is_impossible=True),
    _asked("Which river?", is_impossible=True, plausible_answers=[{"text": "Seine", "answer_start": 0}]),
    _asked("Which town?", " Rouen", is_impossible=False),
)


def test_squad_keeps_answerable_questions_with_a_one_word_answer(tmp_path) -> None:
    source = Squad(_write(tmp_path / "dev.json", SQUAD))
    assert source.load() == [
        Item("Question: Where is Rouen? Answer:", "France", "where", "Normandy"),
        Item("Question: Which town? Answer:", "Rouen", "which", "Normandy"),
    ]
    assert source.describe() == "dev.json"


def test_the_relation_of_a_squad_item_is_its_question_word_and_never_one_of_the_prompt(tmp_path) -> None:
    questions = ("Who made it?", "In what year?", "Whose  Town is it, and why?", "Name the town.", "HOW  many?")
    path = _write(tmp_path / "dev.json", _squad(*(_asked(question, "Rouen") for question in questions)))
    items = Squad(path, "What is asked: {question}").load()
    assert [item.relation for item in items] == ["who", "what", "who", "other", "how many"]
    assert [item.prompt for item in items] == [f"What is asked: {question}" for question in questions]


def test_a_squad_context_is_put_in_whole_or_its_question_left_out(tmp_path) -> None:
    path = _write(tmp_path / "dev.json", SQUAD)
    prompt = "{context} {question} {sure}"
    length = len("Rouen {question} is in France.")
    items = Squad(path, prompt, max_context_chars=length).load()
    assert items[1].prompt == "Rouen {question} is in France. Which town? {sure}"
    _refused(
        Squad(path, prompt, max_context_chars=length - 1),
        rf"none of the 3 questions in .*dev\.json has a one-word answer in a paragraph of at most "
        rf"{length - 1} characters; wanted at least one: choose a file with short answers or raise max_context_chars",
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], r".*dev\.json is list; wanted a SQuAD file with 'data', a list: check the path"),
        (
            {"rows": []},
            r".*dev\.json has the keys rows; wanted a SQuAD file with 'data', a list: check the path",
        ),
        (
            _squad(_asked("What?", "a town"), _asked("Who?")),
            r"none of the 2 questions in .*dev\.json has a one-word answer; wanted at least one: choose a file .*",
        ),
        (
            {"data": [{"paragraphs": []}, {"paragraphs": [{"qas": [_asked("Where?", "here")]}]}]},
            r"article 1 of .*dev\.json is not as in SQuAD \(KeyError: 'context'\); wanted paragraphs with .*",
        ),
        (
            {"data": ["x"]},
            r"article 0 of .*dev\.json is not as in SQuAD \(TypeError: .*\); wanted paragraphs with .*",
        ),
    ],
)
def test_a_bad_squad_file_is_refused(tmp_path, content, message) -> None:
    _refused(Squad(_write(tmp_path / "dev.json", content)), message)


def test_a_squad_prompt_without_a_question_is_refused(tmp_path) -> None:
    path = _write(tmp_path / "dev.json", SQUAD)
    _refused(Squad(path, "Answer:"), r"got the prompt template 'Answer:'; wanted \{question\} in it: add .*")


def test_relation_files_are_read_one_or_all_of_a_folder_by_name(tmp_path) -> None:
    _write(tmp_path / "b-past.json", [{"input": "go", "output": "went"}])
    _write(tmp_path / "a-plural.json", [{"output": "{input}s", "input": "{input}"}])
    _write(tmp_path / "LICENSE", "none")
    assert Relations(tmp_path, "{input} ->").load() == [
        Item("{input} ->", "{input}s", "a-plural", "{input}"),
        Item("go ->", "went", "b-past", "go"),
    ]
    one = Relations(tmp_path / "b-past.json")
    assert one.load() == [Item("go", "went", "b-past", "go")]
    assert (one.describe(), Relations(tmp_path).describe()) == ("b-past.json", tmp_path.name)


def test_bad_relation_files_and_templates_are_refused(tmp_path) -> None:
    _refused(Relations(tmp_path), r"the folder .* has no \.json file; wanted relation files: check the path")
    _refused(Relations(tmp_path / "x"), r"the file .*x cannot be read \(No such file or directory\); .*")
    path = _write(tmp_path / "past.json", [{"input": "go", "output": "went"}, {"input": "see", "out": "saw"}])
    _refused(
        Relations(path, "{subject} ->"),
        r"got the prompt template '\{subject\} ->'; wanted \{input\} in it: .*",
    )
    _refused(Relations(path), r"Object 1 of .*past\.json has the keys input, out; wanted 'output': add it")


def _folder_data_set(folder: Path, rows: list[dict[str, str]]) -> str:
    (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(folder)


def test_a_data_set_of_the_hub_format_is_read_by_its_named_columns(tmp_path) -> None:
    folder = _folder_data_set(tmp_path, [{"q": "The capital of France is", "a": "Paris", "r": "capital"}])
    source = HuggingFace(folder, prompt_field="q", answer_field="a", relation_field="r")
    assert source.load() == [Item("The capital of France is", "Paris", "capital")]
    assert HuggingFace("some/facts", "en").describe() == "some/facts (en)"


def test_hub_rows_without_the_named_columns_are_refused(tmp_path) -> None:
    folder = _folder_data_set(tmp_path, [{"prompt": "p", "answer": "a"}])
    _refused(
        HuggingFace(folder, subject_field="about"),
        rf"Row 0 of '{folder}' has the keys prompt, answer; wanted 'about': add it",
    )


def test_a_hub_that_cannot_be_reached_is_said_in_one_line() -> None:
    _refused(
        HuggingFace("some/facts"),
        r"the data set 'some/facts' \(config None, split 'train'\) could not be loaded \(\w+: "
        r".*\); wanted its rows: check its name, config and split, and that the hub can be "
        r"reached, or download it and use a JSON file",
    )


def test_a_missing_datasets_package_says_how_to_install_it(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    _refused(
        HuggingFace("some/facts"),
        r"the package `datasets`, which the data set 'some/facts' needs, is not installed; wanted it: run pip install "
        r"'bridge-llm\[hub\]'",
    )


def test_the_real_squad_file_gives_items_of_five_articles(shared_data) -> None:
    items = Squad(shared_data / "squad_dev_sample.json").load()
    assert len(items) > 150
    assert len({item.subject for item in items}) == 5
    assert {"France", "Rollo"} <= {item.answer for item in items}


def test_the_real_relation_files_are_all_read(shared_data) -> None:
    items = Relations(shared_data / "function_vectors", "Q: {input} A:").load()
    assert len({item.relation for item in items}) == len(list((shared_data / "function_vectors").glob("*.json")))
    assert Item("Q: Afghanistan A:", "Kabul", "country-capital", "Afghanistan") in items


def test_items_without_an_answer_are_loaded_and_only_decoding_them_is_refused(tmp_path) -> None:
    path = tmp_path / "sentences.json"
    path.write_text(json.dumps([{"prompt": "A dog ran."}, {"prompt": "Two cats slept.", "relation": "cats"}]))
    items = JsonFile(path).load()
    assert items == [Item("A dog ran."), Item("Two cats slept.", relation="cats")]
    with pytest.raises(DataError, match=r"^none of the 2 items has an answer; wanted a gold answer to each prompt, .*"):
        rosetta_set(items, None, None)  # type: ignore[arg-type]
