"""Answers of several tokens after an injected state equal the slow truth: a whole forward pass with a hook."""

import pytest
import torch
from families import prompts, shared

from bridge.errors import ConfigError
from bridge.injection import LateLayer, LmHead, SoftPrefix
from bridge.models.continuation import answered, exact_match, opened, padded, token_f1

ANSWERS = [[9, 10, 11], [12], [13, 14]]
TEXTS = prompts(7, 4, 7)
CLOSE = {"rtol": 0.0, "atol": 2e-4}


def hooked(lm, ids, states, layer, at):
    """Logits (t, V) of a full pass over `ids` in which the stream after `layer` blocks is `states` at one position."""

    def enter(module, args, kwargs):
        stream = (args[0] if args else kwargs["hidden_states"]).clone()
        stream[:, at] = states
        return ((stream, *args[1:]), kwargs) if args else (args, {**kwargs, "hidden_states": stream})

    handle = lm.anatomy.blocks[layer].register_forward_pre_hook(enter, with_kwargs=True)
    try:
        return lm.model(input_ids=torch.tensor([ids]), use_cache=False).logits[0]
    finally:
        handle.remove()


def slow(lm, ids, states, layer, answer, n_written):
    """Log-probability of an answer, and the greedy continuation, each token by a full pass."""
    at = len(ids) - 1
    logits = hooked(lm, [*ids, *answer[:-1]], states, layer, at)[at:].double().log_softmax(-1)
    logprob = sum(float(row[token]) for row, token in zip(logits, answer, strict=True))
    tokens: list[int] = []
    for _ in range(n_written):
        tokens.append(int(hooked(lm, [*ids, *tokens], states, layer, at)[-1].argmax()))
    return logprob, tokens


@pytest.mark.parametrize("context", ["same", "neutral"])
@pytest.mark.parametrize("layer", [0, 2, 3])
def test_a_late_layer_answer_equals_full_passes_with_a_hook(lm, context, layer):
    injection = LateLayer(context=context, neutral_prompt="w4 w5 w6").prepare(lm, TEXTS, layer)
    states = torch.randn(3, 32, generator=torch.Generator().manual_seed(2))
    rows = torch.tensor([2, 0, 1])
    answers = padded([ANSWERS[row] for row in rows])
    logprob, written = injection.continued(states, rows, answers)
    for i, row in enumerate(rows.tolist()):
        (ids,) = lm.encode([TEXTS[row] if context == "same" else "w4 w5 w6"])
        wanted, tokens = slow(lm, ids, states[i], layer, ANSWERS[row], answers.shape[1])
        assert float(logprob[i]) == pytest.approx(wanted, abs=2e-4)
        assert written[i].tolist() == tokens


def test_the_first_token_is_scored_as_logits_score_it():
    lm = shared("llama")
    injection = LateLayer(context="same").prepare(lm, TEXTS, 2)
    states = torch.randn(3, 32, generator=torch.Generator().manual_seed(2))
    rows = torch.arange(3)
    logits = injection.logits(states, rows)
    logprob, written = injection.continued(states, rows, torch.tensor([[9], [12], [13]]))
    wanted = logits.double().log_softmax(-1)[torch.arange(3), [9, 12, 13]]
    torch.testing.assert_close(logprob, wanted, **CLOSE)
    assert written[:, 0].tolist() == logits.argmax(-1).tolist()


def test_a_soft_prefix_answer_equals_full_passes_over_embeddings():
    lm = shared("llama")
    injection = SoftPrefix(template="w4 {state} w6").prepare(lm, TEXTS, 4)
    states = torch.randn(3, 32, generator=torch.Generator().manual_seed(2))
    logprob, written = injection.continued(states, torch.arange(3), padded(ANSWERS))
    assert written[:, 0].tolist() == injection.logits(states, torch.arange(3)).argmax(-1).tolist()
    before, after = (ids for ids in (lm.encode(["w4"])[0], [6]))
    table = lm.model.get_input_embeddings()
    for i, answer in enumerate(ANSWERS):
        state = states[i] * injection.mean_norm_ / states[i].norm()

        def run(more, state=state):
            tail = table(torch.tensor([*after, *more]))
            return lm.model(inputs_embeds=torch.cat([table(torch.tensor(before)), state[None], tail])[None]).logits[0]

        rows = run(answer[:-1])[len(before) + 1 :].double().log_softmax(-1)
        assert float(logprob[i]) == pytest.approx(
            sum(float(row[token]) for row, token in zip(rows, answer, strict=True)), abs=2e-4
        )
        tokens: list[int] = []
        for _ in range(3):
            tokens.append(int(run(tokens)[-1].argmax()))
        assert written[i].tolist() == tokens


def test_an_opening_can_be_answered_again_and_stays_as_it_was():
    lm = shared("llama")
    opening = opened(lm, torch.tensor(lm.encode([TEXTS[0]])))
    first = answered(lm, opening, padded([[9, 10, 11]]))
    n_tokens = opening.n_tokens
    again = answered(lm, opening, padded([[9, 10, 11]]))
    assert opening.n_tokens == n_tokens == len(lm.encode([TEXTS[0]])[0])
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])


@pytest.mark.parametrize("injection", [LmHead(), LateLayer(k=0)])
def test_where_no_later_token_sees_the_state_whole_answers_are_refused(injection):
    lm = shared("llama")
    injection.prepare(lm, TEXTS, 4)
    with pytest.raises(
        ConfigError, match="decodes one token, and with dataset.answers=any answers have several; wanted an"
    ):
        injection.continued(torch.zeros(1, 32), torch.zeros(1, dtype=torch.long), torch.tensor([[5]]))


def test_token_f1_counts_a_token_once_and_only_as_many_as_the_answer_has():
    answers = padded([[5, 5, 6], [7, 8], [9]])
    written = torch.tensor([[5, 6, 6], [8, 7, 7], [1, 9, 9]])
    assert token_f1(written, answers).tolist() == pytest.approx([2 / 3, 1.0, 0.0])
    assert exact_match(written, answers).tolist() == [0.0, 0.0, 0.0]
    assert exact_match(torch.tensor([[5, 5, 6], [7, 8, 3], [9, 0, 0]]), answers).tolist() == [1.0, 1.0, 1.0]
