"""Inverse, saving, streaming and training by gradients, of every exported map that says it can."""

import json

import pytest
import torch
from test_maps_contract import MAPS, make, pair
from torch.func import functional_call, stack_module_state

import bridge.maps
from bridge.errors import FitError
from bridge.maps.base import Map
from bridge.maps.linear import Linear
from bridge.maps.loading import load_map
from bridge.maps.moments import Moments
from bridge.maps.orthogonal import Orthogonal
from bridge.maps.registry import map_class, maps
from bridge.maps.stream import fit_stream

every_map = pytest.mark.parametrize("map_class", MAPS)
inverting = pytest.mark.parametrize("map_class", [c for c in MAPS if c.has_inverse])
streaming = pytest.mark.parametrize("map_class", [c for c in MAPS if c.streams])
trained = pytest.mark.parametrize("map_class", [c for c in MAPS if c.trainable])
shapes = pytest.mark.parametrize(("n", "d_source", "d_target"), [(5, 9, 7), (30, 9, 9), (30, 7, 9), (30, 9, 7)])


@every_map
@shapes
def test_a_saved_map_comes_back_bit_for_bit(map_class, n, d_source, d_target, tmp_path):
    X, Y, X_new = pair(n, d_source, d_target)
    fitted = make(map_class).fit(X, Y)
    mapped = fitted.transform(X_new)
    fitted.save(tmp_path / "map", about={"source": "a", "layer": 3})
    loaded = load_map(tmp_path / "map", about={"layer": 3})
    assert type(loaded) is map_class
    assert torch.equal(loaded.transform(X_new), mapped)
    assert torch.equal(fitted.transform(X_new), mapped)
    assert (loaded.rank_, loaded.solver_, loaded.n_parameters_) == (fitted.rank_, fitted.solver_, fitted.n_parameters_)
    assert loaded.about_ == {"source": "a", "layer": 3}
    if map_class.has_inverse:
        assert torch.equal(loaded.inverse(mapped), fitted.inverse(mapped))
    loaded.save(tmp_path / "again", about=loaded.about_)
    assert torch.equal(load_map(tmp_path / "again").transform(X_new), mapped)
    assert sorted(p.name for p in (tmp_path / "map").iterdir()) == ["map.json", "map.safetensors"]


@inverting
@shapes
def test_mapping_back_and_forth_again_changes_nothing(map_class, n, d_source, d_target):
    X, Y, X_new = pair(n, d_source, d_target)
    fitted = make(map_class).fit(X, Y)
    mapped = fitted.transform(X_new)
    back = fitted.inverse(mapped.reshape(2, 2, d_target)).reshape(4, d_source)
    torch.testing.assert_close(fitted.transform(back), mapped, rtol=0.0, atol=1e-9)
    # the smallest state with that image
    assert bool((back.norm(dim=1) <= X_new.norm(dim=1) * (1 + 1e-9)).all()) or map_class.__name__ in ("Affine", "LoRA")


@streaming
@pytest.mark.parametrize(("n", "d_source", "d_target"), [(40, 9, 9), (40, 7, 9), (40, 9, 7), (5, 9, 7)])
def test_a_streamed_fit_equals_the_fit_in_memory(map_class, n, d_source, d_target):
    X, Y, X_new = pair(n, d_source, d_target)
    whole = make(map_class).fit(X, Y)
    offset = torch.full((1,), 1e3, dtype=torch.float64)
    batches = list(zip((X + offset).split(4), (Y - offset).split(4), strict=True))
    streamed = fit_stream(make(map_class), batches)
    X_new, shift = (X_new + offset, -offset) if map_class.__name__ == "Affine" else (X_new, 0.0)
    wanted = whole.transform(X_new - offset if map_class.__name__ == "Affine" else X_new) + shift
    assert streamed.rank_ == whole.rank_
    torch.testing.assert_close(streamed.transform(X_new), wanted, rtol=1e-9, atol=1e-9)


@streaming
def test_a_stream_about_zero_equals_the_fit_of_rows_as_they_are(map_class):
    if map_class.__name__ == "Affine":
        with pytest.raises(FitError, match=r"Affine fits the means itself; .*use Moments\(center=True\)"):
            fit_stream(make(map_class), [pair(30, 9, 9)[:2]], center=False)
        return
    X, Y, X_new = pair(30, 9, 9)
    X, Y = X + 1.0, Y + 2.0
    streamed = fit_stream(make(map_class), zip(X.split(7), Y.split(7), strict=True), center=False)
    torch.testing.assert_close(
        streamed.transform(X_new), make(map_class).fit(X, Y).transform(X_new), rtol=1e-9, atol=1e-9
    )


@trained
@shapes
def test_a_module_computes_what_the_map_does_and_gives_back_what_it_learned(map_class, n, d_source, d_target):
    X, Y, X_new = pair(n, d_source, d_target)
    fitted = make(map_class).fit(X, Y)
    module = fitted.module()
    torch.testing.assert_close(module(X_new.float()).double(), fitted.transform(X_new), rtol=1e-4, atol=1e-4)
    optimizer = torch.optim.SGD(module.parameters(), lr=1e-2)
    loss = (module(X.float()) - Y.float()).square().sum()
    loss.backward()
    assert all(p.grad is not None for p in module.parameters())
    with torch.no_grad():
        for p in module.parameters():
            p.add_(0.1)
    optimizer.zero_grad()
    before = fitted.transform(X_new)
    rank = fitted.rank_
    assert fitted.absorb(module) is fitted
    assert fitted.solver_ == "gradient descent"
    assert fitted.rank_ == rank
    assert not torch.allclose(fitted.transform(X_new), before, atol=1e-3)
    torch.testing.assert_close(fitted.transform(X_new), module(X_new.float()).double(), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(fitted.module()(X_new.float()), module(X_new.float()))


@trained
def test_modules_of_one_class_can_be_stacked_and_mapped_together(map_class):
    X, Y, X_new = pair(30, 9, 7)
    modules = [make(map_class).fit(X[rows], Y[rows]).module() for rows in (slice(0, 30), slice(0, 6), slice(6, 30))]
    parameters, buffers = stack_module_state(modules)
    together = torch.func.vmap(lambda p, b: functional_call(modules[0], (p, b), (X_new.float(),)))(parameters, buffers)
    alone = torch.stack([module(X_new.float()) for module in modules])
    torch.testing.assert_close(together, alone)


@every_map
def test_what_a_map_has_not_is_refused_by_name(map_class):
    X, Y, _ = pair(30, 9, 9)
    fitted, name = make(map_class).fit(X, Y), map_class.__name__
    refusals = []
    if not map_class.has_inverse:
        refusals.append(
            (lambda: fitted.inverse(Y), f"{name} has no inverse; wanted a map that has one: .*Affine, .* have")
        )
    if not map_class.streams:
        refusals.append((lambda: fit_stream(make(map_class), [(X, Y)]), f"{name} needs the rows themselves; .* are"))
    if not map_class.trainable:
        refusals.append((lambda: fitted.module(), f"{name} is not trained by gradients; wanted .*Linear.* are"))
    else:
        refusals.append((lambda: fitted.absorb(torch.nn.Linear(2, 2)), f"{name} got a module with parameters .*wanted"))
    for call, text in [
        *refusals,
        (lambda: make(map_class).save("nowhere"), f"{name} is not fitted"),
    ]:
        with pytest.raises(FitError, match=text) as refused:
            call()
        assert "\n" not in str(refused.value)


def test_parameters_are_counted():
    X, Y, _ = pair(30, 9, 7)
    counts = {c.__name__: make(c).fit(X, Y).n_parameters_ for c in MAPS}
    assert counts["IdentityMap"] == 0
    assert counts["Orthogonal"] == 9 * 7 - 7 * 8 // 2
    assert counts["Linear"] == counts["Ridge"] == 63
    assert counts["Affine"] == 63 + 7
    assert counts["LoRA"] == 2 * (9 + 7)
    assert counts["ReducedRank"] == counts["CCA"] == 2 * (9 + 7 - 2)
    assert counts["PCAOrthogonal"] == 2 * (9 + 7) - 2 * 3 - 1
    assert counts["Relative"] == 4 * (9 + 7)
    assert make(Orthogonal).fit(X, Y).n_parameters_ + 1 == Orthogonal(scale=True).fit(X, Y).n_parameters_


def test_an_adapter_of_another_pair_is_refused(tmp_path):
    X, Y, _ = pair(30, 9, 7)
    Linear().fit(X, Y).save(tmp_path, about={"source": "tiny-llama", "layer": 2})
    text = r"was fitted for source=tiny-llama, got source=tiny-mistral; wanted the same: load the map of this pair"
    with pytest.raises(FitError, match=text):
        load_map(tmp_path, about={"layer": 2, "source": "tiny-mistral"})
    with pytest.raises(FitError, match="was fitted for no target, got target=b"):
        load_map(tmp_path, about={"target": "b"})
    with pytest.raises(FitError, match=r"about\['x'\] is a list; wanted text, a number"):
        Linear().fit(X, Y).save(tmp_path, about={"x": [1]})


def described(folder, **changes):
    facts = json.loads((folder / "map.json").read_text())
    (folder / "map.json").write_text(json.dumps({k: v for k, v in (facts | changes).items() if v is not ...}))


DAMAGE = {
    "no folder": (lambda f: [p.unlink() for p in f.iterdir()], "no map in .*map.json cannot be read"),
    "no tensors": (lambda f: (f / "map.safetensors").unlink(), "map.safetensors cannot be read"),
    "not JSON": (
        lambda f: (f / "map.json").write_text("{"),
        "map.json is not JSON; wanted an undamaged file: save the map again",
    ),
    "another file": (lambda f: (f / "map.json").write_text("[1]"), "does not describe a map"),
    "a newer format": (lambda f: described(f, format=99), "has format 99; wanted at most 1, .*update bridge"),
    "a key lost": (lambda f: described(f, options=...), "lacks options; wanted an undamaged file"),
    "an unknown class": (lambda f: described(f, **{"class": "System"}), "is a System; wanted a class of bridge.maps"),
    "a function": (lambda f: described(f, **{"class": "load_map"}), "is a load_map; wanted a class"),
    "bits flipped": (
        lambda f: (f / "map.safetensors").write_bytes((f / "map.safetensors").read_bytes()[:-1] + b"\x07"),
        "map.safetensors is not the file that was saved; wanted an undamaged one",
    ),
    "unknown options": (lambda f: described(f, options={"colour": 1}), "does not fit its class"),
}


@pytest.mark.parametrize(("harm", "text"), DAMAGE.values(), ids=DAMAGE.keys())
def test_a_damaged_or_foreign_map_is_refused_in_one_line(harm, text, tmp_path):
    X, Y, _ = pair(30, 9, 7)
    Linear().fit(X, Y).save(tmp_path)
    harm(tmp_path)
    with pytest.raises(FitError, match=text) as refused:
        load_map(tmp_path)
    assert "\n" not in str(refused.value)


def test_a_map_saved_over_another_replaces_it(tmp_path):
    X, Y, X_new = pair(30, 9, 7)
    Linear().fit(X, Y).save(tmp_path)
    fitted = Orthogonal().fit(X, Y)
    fitted.save(tmp_path)
    assert torch.equal(load_map(tmp_path).transform(X_new), fitted.transform(X_new))


def test_moments_that_cannot_be_are_refused():
    X, Y, _ = pair(30, 9, 7)
    with pytest.raises(FitError, match="the moments are of 0 rows; wanted some"):
        Linear().fit_moments(Moments())
    with pytest.raises(FitError, match="widths 7 and 9; wanted 9 and 7, those of the batches before"):
        Moments().update(X, Y).update(Y, X)
    with pytest.raises(FitError, match=r"shapes \(30, 9\) and \(5, 7\); wanted \(b, d_source\) and \(b, d_target\)"):
        Moments().update(X, Y[:5])


def test_which_maps_can_rotate_is_said_on_the_class():
    assert {name for name in maps() if map_class(name).can_rotate} >= {"orthogonal", "linear", "affine"}
    assert not Map.can_rotate
    assert not bridge.maps.Ridge.can_rotate


@every_map
@pytest.mark.parametrize(("d_source", "d_target"), [(96, 128), (128, 96), (128, 128)])
def test_defaults_work_on_a_hundred_rows_of_the_widths_of_small_models(map_class, d_source, d_target):
    X, Y, X_new = pair(100, d_source, d_target)
    # what takes steps takes few here
    fitted = map_class(**({"n_steps": 10} if map_class.__name__ == "MLP" else {})).fit(X, Y)
    assert fitted.transform(X_new).shape == (4, d_target)
    assert torch.isfinite(fitted.transform(X_new)).all()
