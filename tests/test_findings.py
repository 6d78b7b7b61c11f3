"""What is found: sentences computed from tables, whether claims of the paper hold, and runs too weak to tell."""

import numpy as np
import pandas as pd
import pytest

from lmhld_nb import models, paper
from lmhld_nb.experiments import beyond_findings as say
from lmhld_nb.experiments import findings

SURE = {"f1_low": 0.1, "f1_high": 0.9, "patches": 20, "blocks": 10, "f1_sd": 0.01, "seeds": 3, "converged": 1.0}
WEAK = {"f1_low": np.nan, "f1_high": np.nan, "patches": 4, "blocks": 4, "f1_sd": np.nan, "seeds": 1, "converged": 0.5}


def scored(number: int, columns: dict[str, float]) -> pd.DataFrame:
    table = paper.table(number).assign(**columns)
    keys = {name: key for key, name in paper.MODELS.items()}
    return table.assign(model=table["model"].map(keys), area=table.get("study_area", "all"))


def test_scores_are_said_with_what_they_rest_on():
    text = findings.table5(scored(5, SURE))
    assert "U-Net++ is best in 3 of 7 areas" in text and "U-Net++ is best in 3 of 7. The paper's claim" in text
    assert "The order of 7 networks agrees with the paper's (Kendall's tau 1.00, p 0.0004)" in text
    assert text.endswith("U-Net++ outperforms all other models cannot be judged from these runs.")
    narrow = scored(5, SURE).assign(f1_low=lambda t: t["f1"] - 0.0005, f1_high=lambda t: t["f1"] + 0.0005)
    assert "all other models does not hold" in findings.table5(narrow)
    text = findings.table5(scored(5, WEAK))
    assert "all other models cannot be judged from these runs. Of 49 scores some rest on little: 49 on fewer" in text
    alone = findings.table5(scored(5, SURE).query("model == 'unet'"))
    assert "One network is finished, so none can be called the best." in alone and "claim" not in alone
    text = findings.pooled(scored(7, SURE).head(2), 7)
    known = "(F1 0.870; 95 % from 0.100 to 0.900 over 20 test patches; standard deviation 0.010 over 3 seeds)"
    assert f"best is U-Net {known}" in text and "2 networks: too few" in text


@pytest.mark.parametrize(("networks", "part", "verdict"), [(7, 0.9, "holds"), (7, 0.5, "does not"), (3, 0.9, "cannot")])
def test_part_is_best_where_enough_networks_say_so(networks, part, verdict):
    table = pd.DataFrame({"model": models.NAMES[:networks], "single_f1": 0.7, "mix_f1": 0.8, "part_f1": part})
    text = findings.table7_beside(table)
    assert f"claim that part is best {verdict}" in text and ("sign test" in text) == (networks == 7)
    assert "In the paper single 0.803, mix 0.856, part 0.859" in text and text.count("mean F1") == 1
    alike = findings.table7_beside(table.assign(mean_single_f1=0.9, mean_mix_f1=0.6, mean_part_f1=0.7))
    assert "As mean over areas it is single 0.900, mix 0.600, part 0.700; part is above single for 0" in alike
    assert "cannot be compared" in findings.table7_beside(table.assign(single_f1=np.nan, mix_f1=np.nan))


def strategies(low: float, high: float) -> pd.DataFrame:
    gaps = {"f1_minus_part": [0, -0.1, 0.0], "f1_minus_part_low": [0, low, -1], "f1_minus_part_high": [0, high, 1]}
    return pd.DataFrame({"strategy": ["LMHLD_part", "nothing frozen", "EWC"], "seeds": 3, "blocks": 20, **gaps})


LOST = pd.DataFrame({"forgetting": [0.2, 0.1], "run_ids": ["a", "b"], "f1": [0.5, 0.6], "own_input_f1": [0.65, 0.65]})
LEAD = pd.DataFrame({"network_f1": 0.6, "threshold_f1": 0.5, "networks": [7], "networks_clear": 2, "networks_above": 5})


def mixed(gain: float, low: float) -> pd.DataFrame:
    return pd.DataFrame({"area": ["a"], "gain": gain, "alone_f1": 0.5, "f1_low": low, "f1_high": 0.9, "patches": 12})


def sizes(models_best: int) -> pd.DataFrame:
    rows = {"area": "wenchuan", "patch_size": [64, 128, 224], "mean_f1": [0.5, 0.6, 0.7], "models": 7}
    best = {"models_best": [0, 0, models_best], "chosen": [False, False, True], "used": [False, True, False]}
    return pd.DataFrame({**rows, **best, "published_chosen": [False, False, True]})


def recipes(long: float, low: float) -> pd.DataFrame:
    rows = {"batch_size": [4, 4], "epochs": [10, 20], "f1": [0.7, long], "f1_low": low, "patches": 40, "seeds": 3}
    return pd.DataFrame(rows)


@pytest.mark.parametrize(("say", "table", "verdict"), [
    (findings.patch_size_choice, sizes(7), "in 0 of 1 areas. The paper's claim that 224 px are best in Wenchuan holds"),
    (findings.patch_size_choice, sizes(3), "224 px are best in Wenchuan cannot be judged"),
    (findings.patch_size_choice, sizes(7).assign(outside_chosen=[0, 1, 0]), "in Wenchuan cannot be judged"),
    (findings.recipe_study, recipes(0.8, 0.75), "the most epochs are best holds"),
    (findings.recipe_study, recipes(0.8, 0.65), "the most epochs are best cannot be judged"),
    (findings.recipe_study, recipes(0.6, 0.65), "the most epochs are best does not hold"),
    (findings.strategies, strategies(-0.2, -0.05), "the freezing helps holds"),
    (findings.strategies, strategies(-0.2, 0.05), "the freezing helps cannot be judged"),
    (findings.strategies, strategies(0.02, 0.05), "the freezing helps does not hold"),
    (findings.strategies, strategies(0.02, 0.05).assign(seeds=1), "the freezing helps cannot be judged"),
    (findings.order_differences, pd.DataFrame({"model": "unet", "f1": [0.1], "p": 0.2}), "nor confirm the paper"),
    (findings.order_differences, pd.DataFrame({"model": "unet", "f1": [0.1], "p": np.nan}), "matters cannot be judged"),
    (findings.order_differences, pd.DataFrame({"model": "unet", "f1": [0.1], "p": 0.01}), "matters does not hold"),
    (findings.forgetting, LOST, "in 2 chains areas lose 0.150 on average (0.100 to 0.200) of"),
    (findings.patch_size_choice, sizes(7).assign(tied=[False, True, True]), "tied with the best, in 1 of 1 areas"),
    (findings.against_threshold, LEAD, "2 of 7 networks clear the best threshold of their area by 0.05 F1"),
    (findings.examples, LOST.assign(area="a", tp=3, fp=2, fn=1), "find 75% of the landslide pixels; 67% of the wrong"),
    (findings.table4, scored(4, SURE).assign(area="rio", outside_f1=0), "Best is Attention U-Net at 224 px in Rio (0."),
    (findings.table6_by_area, pd.concat([mixed(0.01, 0.55)] * 7), "mixed holds"),
    (findings.table6_by_area, pd.concat([mixed(-0.01, 0.45)] * 7), "mixed cannot be judged"),
    (findings.table6_by_area, mixed(0.1, 0.55), "the score alone lies below it for 1, above it for 0."),
    (findings.table6_by_area, pd.concat([mixed(-0.01, 0.3)] * 7).assign(f1_high=0.4), "mixed does not hold"),
    (findings.recipe_study, pd.DataFrame({"batch_size": [4], "epochs": 20, "f1": 0.8}), "nothing to compare"),
    (findings.table6_by_area, mixed(np.nan, np.nan), "what mixing adds is not known"),
])  # fmt: skip
def test_verdicts_follow_the_intervals(say, table, verdict):
    assert verdict in say(table)


SCORE = {"patches": 40, "seeds": 3, "f1_low": 0.7, "f1_high": 0.8, "f1_sd": 0.01}


def labels(patches: int, low: float) -> pd.DataFrame:
    f1 = {("drawn", "drawn"): 0.8, ("drawn", "true"): 0.82, ("true", "drawn"): 0.79, ("true", "true"): 0.84}
    gain = {"gain": 0.02, "gain_low": low, "gain_high": 0.03, "gain_sd": 0.01, "labels_f1": 0.93, "patches": patches}
    return pd.DataFrame([{**SCORE, **gain, "trained": a, "tested": b, "f1": f1[a, b]} for a, b in f1])


def epochs(gaps: list[float], seeds: int = 3) -> pd.DataFrame:
    row = {**SCORE, "f1": 0.8, "areas": 7, "part_minus_sd": 0.01, "seeds": seeds}
    part = {**row, "epochs": 10, "strategy": "part", "part_minus": 0.0}
    mix = [{**row, "epochs": 10 * k, "strategy": "mix", "part_minus": gap} for k, gap in enumerate(gaps, start=1)]
    return pd.DataFrame([part, *mix])


@pytest.mark.parametrize(("gaps", "expected"), [
    ([0.04, 0.05, 0.03, 0.06, 0.05, 0.04], "so the random split of the paper leaks"),
    ([0.04, -0.05, 0.03, -0.06, 0.05, 0.04], "so a leak is not shown"),
    ([0.04, 0.05, 0.03], "too few draws for a test), so a leak is not shown"),
    ([0.04], "fewer than two draws"),
])  # fmt: skip
def test_a_leak_is_a_finding_only_where_a_test_can_show_it(gaps: list[float], expected: str) -> None:
    rows = [
        {**SCORE, "split": split, "seed": seed, "f1": 0.7 + gap * (split == "random")}
        for seed, gap in enumerate(gaps)
        for split in ("random", "blocks")
    ]
    assert expected in say.split_kinds(pd.DataFrame(rows))


def test_labels_epochs_and_pairs_are_found_where_enough_is_there():
    assert "the gain is more than the choice of patches explains" in say.label_noise(labels(40, 0.01))
    assert "the gain is no more than the choice of patches explains" in say.label_noise(labels(40, -0.01))
    assert "With 4 test patches this is no finding" in say.label_noise(labels(4, float("nan")))
    assert "Its sign does not change" in (ahead := say.epochs_per_stage(epochs([0.02, 0.03])))
    assert "holds at each" in ahead and "one seed" not in ahead
    assert "Its sign changes" in (mixed := say.epochs_per_stage(epochs([-0.02, 0.03], seeds=1)))
    assert "holds at some" in mixed and "(one seed, " in mixed
    assert "nothing to compare" in say.epochs_per_stage(epochs([]))
    table = pd.DataFrame({"table": [5, 6], "pairs": [10, 3], "untested": [4, 3], "sure": [2, 0], "one_seed": [1, 0]})
    assert "2 of 6 pairs" in (told := say.rankings(table)) and "2 of 6 in Table 5;" in told and "7 further" in told
    assert "most of these pairs would keep their order on other test patches; 1 of them rest on one seed" in told
    assert "no pair of networks rests on enough" in say.rankings(table.iloc[1:])


def test_areas_left_out_sizes_and_switches_ask_for_patches_and_seeds():
    rows = [{**SCORE, "area": area, "f1": 0.5, "gap": -0.2, "gap_low": -0.3, "gap_high": high, "patches": patches}
            for area, high, patches in (("rio", -0.1, 30), ("gorkha", 0.1, 30), ("taiwan", np.nan, 4))]  # fmt: skip
    told = say.leave_one_out(pd.DataFrame(rows))
    assert "0.200 less" in told and "below 0 in 1 of the 2 that have" in told and "Rio" in told
    assert "With 4 test patches this is no finding" in say.leave_one_out(pd.DataFrame(rows[2:]))
    rows = [{**SCORE, "patch_size": size, "f1": f1, "chosen": int(size == 32)} for size, f1 in ((32, 0.7), (64, 0.74))]
    table = pd.DataFrame(rows)
    assert "0.040 above the 32 px in use" in say.sizes_compared(table)
    assert "more than seeds explain" in say.sizes_compared(table)
    assert "one seed cannot say" in say.sizes_compared(table.assign(seeds=1, f1_sd=float("nan")))
    assert "2 seeds cannot say" in say.sizes_compared(table.assign(seeds=2))
    assert "the size in use" in say.sizes_compared(table.assign(chosen=[0, 1]))
    change = {"change": "loss: bce", "effect": -0.03, "low": -0.04, "high": -0.01, "effect_sd": 0.01, "seeds": 3}
    switched = pd.DataFrame([{**change, "patches": 40, "same_sign": same} for same in (True, False)])
    assert "1 of 2 other choices changes" in say.switches(switched) and "loss: bce -0.030" in say.switches(switched)
