"""Tensors of one name, one tensor. The table below is the whole registry."""

from inarch.merge._config import MergeConfig
from inarch.merge._method import Method
from inarch.merge._outline import load_config
from inarch.merge.arcee_fusion import ArceeFusionSettings, arcee_fusion
from inarch.merge.breadcrumbs import BreadcrumbsSettings, breadcrumbs
from inarch.merge.breadcrumbs_ties import BreadcrumbsTiesSettings, breadcrumbs_ties
from inarch.merge.dare_linear import DareLinearSettings, dare_linear
from inarch.merge.dare_ties import DareTiesSettings, dare_ties
from inarch.merge.della import DellaSettings, della
from inarch.merge.della_linear import DellaLinearSettings, della_linear
from inarch.merge.karcher import KarcherSettings, karcher
from inarch.merge.linear import LinearSettings, linear
from inarch.merge.model_stock import ModelStockSettings, model_stock
from inarch.merge.multislerp import MultislerpSettings, multislerp
from inarch.merge.nearswap import NearswapSettings, nearswap
from inarch.merge.nuslerp import NuslerpSettings, nuslerp
from inarch.merge.passthrough import PassthroughSettings, passthrough
from inarch.merge.ram import RamSettings, ram
from inarch.merge.ramplus_tl import RamplusTlSettings, ramplus_tl
from inarch.merge.sce import SceSettings, sce
from inarch.merge.slerp import SlerpSettings, slerp
from inarch.merge.task_arithmetic import TaskArithmeticSettings, task_arithmetic
from inarch.merge.ties import TiesSettings, ties
from inarch.merge.varm import VarmSettings, varm

METHODS: dict[str, Method] = {
    "linear": Method(linear, LinearSettings, "none"),
    "slerp": Method(slerp, SlerpSettings, "required", 1, 1),
    "nuslerp": Method(nuslerp, NuslerpSettings, "optional", 2, 2),
    "multislerp": Method(multislerp, MultislerpSettings, "optional"),
    "karcher": Method(karcher, KarcherSettings, "none"),
    "task_arithmetic": Method(task_arithmetic, TaskArithmeticSettings, "required"),
    "ties": Method(ties, TiesSettings, "required"),
    "dare_linear": Method(dare_linear, DareLinearSettings, "required"),
    "dare_ties": Method(dare_ties, DareTiesSettings, "required"),
    "della": Method(della, DellaSettings, "required"),
    "della_linear": Method(della_linear, DellaLinearSettings, "required"),
    "breadcrumbs": Method(breadcrumbs, BreadcrumbsSettings, "required"),
    "breadcrumbs_ties": Method(breadcrumbs_ties, BreadcrumbsTiesSettings, "required"),
    "model_stock": Method(model_stock, ModelStockSettings, "required", 2),
    "nearswap": Method(nearswap, NearswapSettings, "required", 1, 1),
    "arcee_fusion": Method(arcee_fusion, ArceeFusionSettings, "required", 1, 1),
    "passthrough": Method(passthrough, PassthroughSettings, "none", 1, 1),
    "ram": Method(ram, RamSettings, "required"),
    "ramplus_tl": Method(ramplus_tl, RamplusTlSettings, "required"),
    "varm": Method(varm, VarmSettings, "required"),
    "sce": Method(sce, SceSettings, "required"),
}

__all__ = ["METHODS", "MergeConfig", "Method", "load_config"]
