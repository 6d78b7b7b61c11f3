"""What is found: sentences computed from tables, whether claims of the paper hold, and runs too weak to tell."""

import numpy as np
import pandas as pd
import pytest

from lmhld_nb import models, paper
from lmhld_nb.experiments import findings

SURE = {"f1_low": 0.1, "f1_high": 0.9, "patches": 20, "f1_sd": 0.01, "seeds": 3, "converged": 1.0}
WEAK = {"f1_low": np.nan, "f1_high": np.nan, "patches": 4, "f1_sd": np.nan, "seeds": 1, "converged": 0.5}


def scored(number: int, columns: dict[str, float]) -> pd.DataFrame:
    table = paper.table(number).assign(**columns)
    keys = {name: key for key, name in paper.MODELS.items()}
    return table.assign(model=table["model"].map(keys), area=table.get("study_area", "all"))


def test_scores_are_said_with_what_they_rest_on():
    text = findings.table5(scored(5, SURE))
    assert "U-Net++ is best in 3 of 7 areas" in text and "rest on little" not in text
    assert "The order of 7 networks agrees with the paper's (Kendall's tau 1.00, p 0.0004)" in text
    assert text.endswith("The paper's claim that U-Net++ outperforms all other models does not hold here.")
    text = findings.table5(scored(5, WEAK))
    assert "all other models cannot be judged from these runs. Of 49 scores some rest on little: 49 on fewer" in text
    alone = findings.table5(scored(5, SURE).query("model == 'unet'"))
    assert "One network is finished, so none can be called the best." in alone and "claim" not in alone
    text = findings.pooled(scored(7, SURE).head(2), 7)
    known = "(F1 0.870; 95 % from 0.100 to 0.900 over 20 test patches; standard deviation 0.010 over 3 seeds)"
    assert f"best is U-Net {known}" in text and "2 networks are too few" in text


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
    gaps = {"f1_less_part": [0, -0.1, 0.0], "f1_less_part_low": [0, low, -1], "f1_less_part_high": [0, high, 1]}
    return pd.DataFrame({"strategy": ["LMHLD_part", "nothing frozen", "EWC"], "seeds": 3, **gaps})


def orders(p: float) -> pd.DataFrame:
    return pd.DataFrame({"model": ["unet"], "f1": [0.1], "p": [p]})


def mixed(gain: float, low: float) -> pd.DataFrame:
    return pd.DataFrame({"area": ["a"], "gain": gain, "alone_f1": 0.5, "f1_low": low, "f1_high": 0.9, "patches": 12})


@pytest.mark.parametrize(("say", "table", "verdict"), [
    (findings.strategies, strategies(-0.2, -0.05), "the freezing helps holds"),
    (findings.strategies, strategies(-0.2, 0.05), "the freezing helps cannot be judged"),
    (findings.strategies, strategies(0.02, 0.05), "the freezing helps does not hold"),
    (findings.order_differences, orders(0.2), "these seeds do not contradict"),
    (findings.order_differences, orders(np.nan), "hardly matters cannot be judged"),
    (findings.order_differences, orders(0.01), "hardly matters does not hold"),
    (findings.table6_by_area, mixed(0.1, 0.55), "mixed holds"),
    (findings.table6_by_area, mixed(0.1, np.nan), "mixed cannot be judged"),
    (findings.table6_by_area, mixed(0.1, 0.45), "mixed cannot be judged"),
    (findings.recipe_study, pd.DataFrame({"batch_size": [4], "epochs": 20, "f1": 0.8}), "nothing to compare"),
    (findings.table6_by_area, mixed(np.nan, np.nan), "what mixing adds is not known"),
])  # fmt: skip
def test_verdicts_follow_the_intervals(say, table, verdict):
    assert verdict in say(table)
