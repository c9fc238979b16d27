"""Fit the coefficients of the classical detector: ``python -m tests.bench.fit_classical --data DIR [--cache DIR]``.

Learns from what may shape weights that ship, and from nothing else: the train split of CBIS-DDSM masses, CDD-CESM and
phantoms. First it fits on three quarters of the patients and prints how the last quarter fares, then on all, and
writes cmmd_node/cad/classical.json. One core needs about half an hour, most of it for describing images; a cache keeps
those descriptions and must be emptied when features change.
"""

from __future__ import annotations

import argparse
import json
import pickle
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch

from cmmd_node.cad.breast import GRID_MM
from cmmd_node.cad.masses import CANDIDATE_FEATURES, Candidates, Search, pick_candidates
from cmmd_node.cad.network import Network
from cmmd_node.cad.places import PLACE_FEATURES, STRIDE, flattened
from tests.bench.training_cases import Prepared, cbis, cesm, phantoms, prepared

DATA = Path(__file__).parents[3] / "shared" / "data"
COEFFICIENTS = Path(__file__).parents[2] / "cmmd_node" / "cad" / "classical.json"
ATTRIBUTION = (
    "Fitted on CBIS-DDSM mass images, train split (Sawyer-Lee et al. 2016, DOI 10.7937/K9/TCIA.2016.7O02S9CY; "
    "Lee et al. 2017, DOI 10.1038/sdata.2017.177; CC BY 3.0), CDD-CESM low-energy images (Khaled et al. 2021, "
    "DOI 10.7937/29kw-ae92; CC BY 4.0) and phantom exams of cmmd-node."
)
PHANTOM_WEIGHT = 0.4
USUAL_FALSE_MARKS = 1.0
"""False marks per image of CBIS-DDSM at suspicion 0.5."""
RATES = (0.5, 1.0, 2.0, 4.0)


def gather(data: Path, cache: Path | None) -> dict[str, list[Prepared]]:
    sources = {
        "cbis": lambda: cbis(data / "cbis-ddsm-masses", "train"),
        "cesm": lambda: cesm(data / "cdd-cesm-malignant"),
        "phantom": lambda: phantoms(range(1000, 1060)),
    }
    cases = {}
    for name, source in sources.items():
        kept = cache / f"{name}.pkl" if cache else None
        if kept and kept.is_file():
            cases[name] = pickle.loads(kept.read_bytes())
        else:
            cases[name] = [p for p in map(prepared, source()) if p is not None]
            if kept:
                kept.write_bytes(pickle.dumps(cases[name]))
        print(f"{name}: {len(cases[name])} images", flush=True)
    return cases


def place_samples(case: Prepared, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features, 1 for centres of masses or 0, and weights of some places of one image."""
    breast = case.breast
    rows, columns = case.features.shape[:2]
    y = ((np.arange(rows) * STRIDE + 0.5) * GRID_MM)[:, None]
    x = ((np.arange(columns) * STRIDE + 0.5) * GRID_MM)[None, :]
    near = np.zeros((rows, columns), bool)
    chosen, truth, weight = [], [], []
    for center, half in boxes(case, least_mm=1.5):
        squared = ((x - center[0]) / half[0]) ** 2 + ((y - center[1]) / half[1]) ** 2
        near |= squared < 1.35**2
        core = np.argwhere((squared <= max(0.4, 1.7 / min(half)) ** 2) & breast.mask[::STRIDE, ::STRIDE])
        some = rng.permutation(core)[:12]
        chosen.append(some)
        truth.append(np.ones(len(some)))
        weight.append(np.full(len(some), 8.4 / max(len(some), 1)))
    far = breast.mask[::STRIDE, ::STRIDE] & ~near
    far &= (breast.to_skin_mm[::STRIDE, ::STRIDE] > 3.0) & (breast.to_muscle_mm[::STRIDE, ::STRIDE] > -8.0)
    others = rng.permutation(np.argwhere(far))[:100]
    places = np.concatenate([*chosen, others])
    truth.append(np.zeros(len(others)))
    weight.append(np.ones(len(others)))
    return case.features[places[:, 0], places[:, 1]], np.concatenate(truth), np.concatenate(weight)


def candidate_samples(case: Prepared, found: Candidates) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The same of the candidates; those that are in a mass but not well in it count neither way."""
    truth, weight = np.zeros(len(found.log_odds)), np.ones(len(found.log_odds))
    for center, half in boxes(case, least_mm=2.0):
        off = (np.abs(found.centers_mm - center) / half).max(axis=1)
        truth[(off < 1.5) & (truth == 0)] = -1
        within = np.flatnonzero(off <= max(0.5, min(0.9, 3.0 / min(half))))
        truth[within] = 1
        weight[within] = 8.0 / max(len(within), 1)
    counts = truth >= 0
    return found.features[counts], truth[counts], weight[counts]


def boxes(case: Prepared, least_mm: float) -> Iterable[tuple[np.ndarray, np.ndarray]]:
    for left, top, right, bottom in case.boxes_mm:
        half = np.maximum([(right - left) / 2, (bottom - top) / 2], least_mm)
        yield np.array([(left + right) / 2, (top + bottom) / 2]), half


def fit(samples: list[tuple[np.ndarray, np.ndarray, np.ndarray]], *, hidden: int, epochs: int, decay: float) -> Network:
    """The mean of three small networks, as one."""
    features, truth, weight = (np.concatenate(part).astype(np.float32) for part in zip(*samples, strict=True))
    center, spread = features.mean(axis=0), features.std(axis=0) + 1e-3
    inputs = torch.tensor(np.clip((features - center) / spread, -4.0, 4.0))
    targets, weights = torch.tensor(truth), torch.tensor(weight)
    layers = []
    for seed in range(3):
        torch.manual_seed(seed)
        network = torch.nn.Sequential(
            torch.nn.Linear(inputs.shape[1], hidden), torch.nn.ReLU(), torch.nn.Linear(hidden, 1)
        )
        optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3, weight_decay=decay)
        steps = epochs * -(-len(inputs) // 1024)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 5e-3, total_steps=steps)
        for _ in range(epochs):
            for batch in torch.randperm(len(inputs)).split(1024):
                log_odds = network(inputs[batch])[:, 0]
                loss = torch.nn.functional.binary_cross_entropy_with_logits(log_odds, targets[batch], reduction="none")
                optimizer.zero_grad()
                (loss * weights[batch]).mean().backward()
                optimizer.step()
                schedule.step()
        layers.append([parameter.detach().numpy() for parameter in network.parameters()])
    first = np.concatenate([w.T for w, _, _, _ in layers], axis=1), np.concatenate([b for _, b, _, _ in layers])
    second = np.concatenate([w.T for _, _, w, _ in layers]) / 3, sum(b for _, _, _, b in layers) / 3
    return Network(center, spread, (first, second))


def fit_both(cases: list[Prepared]) -> Callable[[Prepared], tuple[Candidates, np.ndarray]]:
    """Fit both networks; the answer finds the candidates of a case and their log odds, and has both as attributes."""
    rng = np.random.default_rng(0)
    places = fit([weighted(c, place_samples(c, rng)) for c in cases], hidden=24, epochs=10, decay=1e-3)
    found = [look(c, places) for c in cases]
    samples = [weighted(c, candidate_samples(c, f)) for c, f in zip(cases, found, strict=True)]
    candidates = fit(samples, hidden=16, epochs=12, decay=3e-2)

    def judge(case: Prepared) -> tuple[Candidates, np.ndarray]:
        seen = look(case, places)
        return seen, (seen.log_odds + candidates(seen.features)) / 2.0

    judge.places, judge.candidates = places, candidates  # type: ignore[attr-defined]
    return judge


def look(case: Prepared, places: Network) -> Candidates:
    return pick_candidates(case.breast, flattened(case.breast), case.features.astype(np.float32), places, Search())


def weighted(case: Prepared, sample: tuple[np.ndarray, np.ndarray, np.ndarray]) -> tuple[np.ndarray, ...]:
    features, truth, weight = sample
    return features, truth, weight * (PHANTOM_WEIGHT if case.source == "phantom" else 1.0)


def scores(
    cases: list[Prepared], judge: Callable[[Prepared], tuple[Candidates, np.ndarray]]
) -> tuple[np.ndarray, np.ndarray]:
    """The best log odds in each mass, and those of all false marks from the highest on."""
    hits, false = [], []
    for case in cases:
        found, log_odds = judge(case)
        free = np.ones(len(log_odds), bool)
        for center, half in boxes(case, least_mm=0.0):
            inside = (np.abs(found.centers_mm - center) <= half).all(axis=1)
            hits.append(log_odds[inside].max(initial=-99.0))
            free &= ~inside
        false.append(log_odds[free])
    return np.array(hits), np.sort(np.concatenate(false))[::-1]


def as_json(network: Network, features: tuple[str, ...], shift: float) -> dict[str, object]:
    def rounded(values: np.ndarray) -> list[float]:
        return [float(f"{value:.5g}") for value in values]

    *inner, (weights, bias) = network.layers
    return {
        "features": list(features),
        "center": rounded(network.center),
        "spread": rounded(network.spread),
        "layers": [
            {"weights": [rounded(row) for row in w], "bias": rounded(b)} for w, b in (*inner, (weights, bias - shift))
        ],
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=DATA, metavar="DIR")
    parser.add_argument("--cache", type=Path, metavar="DIR")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    cases = gather(arguments.data, arguments.cache)

    held_out = {name: [c for c in some if _number(c.group) % 4 == 0] for name, some in cases.items()}
    judge = fit_both([c for some in cases.values() for c in some if _number(c.group) % 4])
    print("held out patients: sensitivity at", *RATES, "false marks per image (centre in box)")
    for name, some in held_out.items():
        hits, false = scores(some, judge)
        print(f"  {name}: {len(hits)} masses", *(f"{(hits > false[int(r * len(some))]).mean():.3f}" for r in RATES))

    judge = fit_both([c for some in cases.values() for c in some])
    _, false = scores(cases["cbis"], judge)
    shift = 2.0 * float(false[int(USUAL_FALSE_MARKS * len(cases["cbis"]))])
    content = {
        "attribution": ATTRIBUTION,
        "places": as_json(judge.places, PLACE_FEATURES, 0.0),  # type: ignore[attr-defined]
        "candidates": as_json(judge.candidates, CANDIDATE_FEATURES, shift),  # type: ignore[attr-defined]
    }
    COEFFICIENTS.write_text(json.dumps(content, indent=None, separators=(",", ":")) + "\n")
    return 0


def _number(group: str) -> int:
    return int("".join(filter(str.isdigit, group)))


if __name__ == "__main__":
    sys.exit(main())
