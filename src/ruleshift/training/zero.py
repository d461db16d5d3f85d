"""DeepSpeed's ZeRO as `accelerate launch --use_deepspeed` asks for it: Adam's moments are divided over the processes of
a run (stage 1), and gradients, too (stage 2), or stand on the CPU.

Weights are whole in each process. DeepSpeed's engine takes part in passes, brings gradients together, clips them and
steps; of its own format nothing is written: a checkpoint holds whole moments, as that of every run does, since reading
the engine's would mean to open pickles. Source: Rajbhandari et al., arXiv 1910.02054; Ren et al., arXiv 2101.06840.
"""

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from shutil import which
from typing import Any, TypeVar

import torch
from torch import nn
from transformers import PreTrainedModel

from ruleshift.backbones.vision import looks_across, sees
from ruleshift.errors import RuleshiftError
from ruleshift.settings import RLConfig, SFTConfig
from ruleshift.training.optimizers import fits

ASKED = "ACCELERATE_USE_DEEPSPEED"  # the launcher's variable
STAGES = (1, 2)
OURS = ("optimizer", "scheduler")  # sections of its file that say what the options of a training say
TRIED = {
    "reduce_bucket_size",
    "allgather_bucket_size",
    "allgather_partitions",
    "reduce_scatter",
    "contiguous_gradients",
}
TRIED_IN_2 = {"overlap_comm"}  # `round_robin_gradients` is none: DeepSpeed then finds moments in the wrong places
PRECISION = ("fp16", "bf16", "amp", "torch_autocast")
MOMENTS = ("exp_avg", "exp_avg_sq")
Result = TypeVar("Result")
Settings = Mapping[str, Any]


def asked_for() -> bool:
    """Whether the launcher was asked for DeepSpeed."""
    return os.environ.get(ASKED, "false").lower() == "true"


def read_settings() -> dict[str, Any]:
    """The section `zero_optimization` of what the launcher was told: by its options, its configuration, or a file of
    DeepSpeed's own. Raises RuleshiftError where DeepSpeed is missing, and for what is not supported here."""
    if find_spec("deepspeed") is None:
        raise RuleshiftError(
            "accelerate launch was asked for DeepSpeed, which is missing: pip install 'ruleshift[deepspeed]', or "
            "launch with --multi_gpu"
        )
    if not torch.cuda.is_available() and which("g++") is None:
        raise RuleshiftError("on a CPU DeepSpeed compiles how its processes talk: install g++, or launch without it")
    from accelerate import DeepSpeedPlugin

    try:
        config: dict[str, Any] = DeepSpeedPlugin().deepspeed_config
        told = {name: value for name, value in config["zero_optimization"].items() if value != "auto"}
        stage = int(told.pop("stage"))
        away = {of: dict(told.pop(f"offload_{of}", None) or {}) for of in ("optimizer", "param")}
        offload = {of: section.pop("device", "none") for of, section in away.items()}
    except (ValueError, TypeError, LookupError, AttributeError, OSError) as error:
        raise RuleshiftError(f"the launcher's settings of DeepSpeed cannot be read ({error}): mend them") from error
    if stage not in STAGES:
        raise RuleshiftError(
            f"ZeRO stage {stage} is not supported: give accelerate launch --zero_stage 1 or 2; or, to divide weights, "
            "too, launch with --multi_gpu and give --shard to ruleshift (docs/scale.md)"
        )
    if offload["param"] != "none" or offload["optimizer"] not in ("none", "cpu"):
        raise RuleshiftError("only moments are offloaded, and to the CPU: --offload_optimizer_device cpu, and no other")
    pinned = {name: value for name, value in away["optimizer"].items() if name == "pin_memory"}
    if beside := sorted(name for name, value in away["optimizer"].items() if name not in pinned and value is not None):
        raise RuleshiftError(f"leave {', '.join(beside)} out of offload_optimizer in DeepSpeed's file: not supported")
    for name in OURS:
        if name in config:
            raise RuleshiftError(f"leave {name} out of DeepSpeed's file: options of this command say what it would")
    for name in PRECISION:
        asked = config.get(name)
        if str(asked.get("enabled") if isinstance(asked, dict) else asked).lower() == "true":
            raise RuleshiftError(f"leave {name} out of DeepSpeed's file, and give --bf16 to ruleshift")
    kept = {name: value for name, value in told.items() if not name.startswith("stage3_")}
    refused = sorted(kept.keys() - (TRIED if stage == 1 else TRIED | TRIED_IN_2))
    if refused:
        raise RuleshiftError(f"leave {', '.join(refused)} out of zero_optimization in DeepSpeed's file: not supported")
    return kept | {"stage": stage, "offload_optimizer": {"device": offload["optimizer"], **pinned}}


def check_zero(config: SFTConfig | RLConfig, settings: Settings, model: PreTrainedModel) -> None:
    """Raise RuleshiftError for what needs gradients as a whole, or moments of another kind; and in stage 2, where
    gradients are brought together as they come, for weights of which a pass without pictures has none."""
    needs, instead = "--adam-8bit" if config.adam_8bit else None, "leave it out"
    if isinstance(config, RLConfig) and config.sft_mix == "noise":
        needs = "--sft-mix noise"
    if isinstance(config, RLConfig) and config.critic and not config.value_steps:  # which a preset may say, too
        needs, instead = "--value-steps 0", f"give --value-steps {RLConfig.value_steps}"
    if needs is not None:
        raise RuleshiftError(f"{needs} is not for DeepSpeed: {instead}, or launch with --multi_gpu")
    looks = not config.lora_rank and {"tower", "projector"} & set(config.train_parts)
    if settings["stage"] > 1 and sees(model) and (looks or looks_across(model)):
        other = "" if looks_across(model) else ", or learn --train-parts decoder alone"
        raise RuleshiftError(
            f"ZeRO stage {settings['stage']} is not for what only pictures pass through: give accelerate launch "
            f"--zero_stage 1{other}"
        )


class _Weights(nn.Module):
    """What the engine takes for a model: the weights that learn. Its forward pass is any work with them."""

    def __init__(self, weights: Sequence[nn.Parameter]) -> None:
        super().__init__()
        self.weights = nn.ParameterList(weights)

    def forward(self, work: Callable[[], Result]) -> Result:
        return work()


class Zero(nn.Module):
    """A model whose passes DeepSpeed takes part in, once `adopt` has told it of the optimiser. Gradients of the
    processes are averaged, `times` which they count. `writes`: this process holds what a checkpoint will."""

    def __init__(self, model: PreTrainedModel, settings: Settings, times: int, writes: bool) -> None:
        super().__init__()
        self.model, self.settings, self.times, self.writes = model, settings, times, writes
        self.engine: Any = None

    def forward(self, work: Callable[[], Result]) -> Result:
        if self.engine is None:
            return work()
        result: Result = self.engine(work)
        return result

    def adopt(self, optimizer: torch.optim.Optimizer, weights: Sequence[nn.Parameter], most: float) -> "ZeroAdam":
        """Let DeepSpeed divide what `optimizer` remembers of these weights, and clip their gradients to `most`. All
        else that it steps on stays as it is."""
        import deepspeed

        logging.getLogger("DeepSpeed").setLevel(logging.ERROR)
        own = set(weights)
        chosen = [[weight for weight in group["params"] if weight in own] for group in optimizer.param_groups]
        self.whole, self.places = optimizer, [place for place, some in enumerate(chosen) if some]
        groups = [{**optimizer.param_groups[place], "params": chosen[place]} for place in self.places]
        for weight in weights if self.times > 1 else ():
            weight.register_hook(lambda gradient: gradient * self.times)
        again: Any = type(optimizer)
        self.weights, self.divided = list(weights), again(groups)
        self.engine, *_ = deepspeed.initialize(
            model=_Weights(weights),
            optimizer=self.divided,
            dist_init_required=False,
            config={
                "train_micro_batch_size_per_gpu": 1,  # counted by the engine, and used for nothing
                "managed_gradient_accumulation": False,
                "gradient_clipping": most,
                "zero_optimization": dict(self.settings),
                "zero_allow_untested_optimizer": True,
                "zero_force_ds_cpu_optimizer": False,
                "steps_per_print": 2**31,
            },
        )
        return ZeroAdam(optimizer, self)

    def step(self) -> float:
        """Bring gradients together, clip them, step, and forget them. Returns the norm before clipping; where that is
        not finite there is no step."""
        for group, place in zip(self.divided.param_groups, self.places, strict=True):
            group["lr"] = self.whole.param_groups[place]["lr"]
        if self.settings["stage"] == 1:  # one process may have seen no picture: all bring the same gradients
            for weight in self.weights:
                weight.grad = torch.zeros_like(weight) if weight.grad is None else weight.grad
        self.engine.step()
        for weight in self.weights:
            weight.grad = None
        return float(self.engine.get_global_grad_norm())

    def remembered(self) -> dict[torch.Tensor, dict[str, torch.Tensor]]:
        """Whole moments of each weight, once there are any, on the CPU of the process that writes; the others, which
        ask at the same time, get none."""
        from deepspeed.utils import safe_get_full_optimizer_state as whole

        steps = [state["step"] for state in self.divided.state.values() if "step" in state]
        if not steps:
            return {}
        found: dict[torch.Tensor, dict[str, torch.Tensor]] = {}
        for weight in self.weights:
            moments = {name: whole(weight, name) for name in MOMENTS}
            if self.writes:  # a count for each: they are counted up in place
                kept = {name: moment.cpu() for name, moment in moments.items()}
                found[weight] = {"step": torch.tensor(float(steps[0])), **kept}
        return found

    def remember(self, state: Mapping[nn.Parameter, Mapping[str, Any]]) -> None:
        """Go on from whole moments, and from the weights as they are. Raises ValueError for those of other shapes."""
        from deepspeed.utils import safe_set_full_fp32_param, safe_set_full_optimizer_state

        if not all(fits(weight, moments) for weight, moments in state.items()):
            raise ValueError("moments of another model")
        steps = max((float(moments["step"]) for moments in state.values()), default=0.0)
        for group in self.divided.param_groups:
            for part in group["params"]:
                own = self.divided.state[part]
                own["step"] = torch.tensor(steps, device=part.device if group.get("fused") else "cpu")
                for name in MOMENTS:  # in their memory, once DeepSpeed knows of it
                    own[name] = own[name].zero_() if name in own else torch.zeros_like(part)
        self.engine.optimizer._lazy_init_hp_params_optimizer_state()
        for weight in self.weights:
            safe_set_full_fp32_param(weight, weight.detach().float())
            for name in MOMENTS if weight in state else ():
                safe_set_full_optimizer_state(weight, state[weight][name], name)


class ZeroAdam(torch.optim.Optimizer):
    """An optimiser with its groups and its format of states, for which DeepSpeed remembers and steps in part.

    `Zero.step` makes the steps of that part, which is known to have no gradient afterwards.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, zero: Zero) -> None:
        self.whole, self.zero = optimizer, zero
        self.defaults = optimizer.defaults

    @property
    def param_groups(self) -> list[dict[str, Any]]:  # type: ignore[override]
        return self.whole.param_groups

    @property
    def state(self) -> dict[torch.Tensor, Any]:  # type: ignore[override]
        """What is not divided."""
        return self.whole.state

    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        self.whole.step()

    def zero_grad(self, set_to_none: bool = True) -> None:
        self.whole.zero_grad(set_to_none)

    def state_dict(self) -> dict[str, Any]:
        """That of the whole optimiser, in the process that writes; all ask for it at once."""
        self.whole.state.update(self.zero.remembered())
        found: dict[str, Any] = self.whole.state_dict()
        for weight in self.zero.weights:
            self.whole.state.pop(weight, None)
        return found

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Raises ValueError for one of another model."""
        weights, own = [weight for group in self.param_groups for weight in group["params"]], set(self.zero.weights)
        divided = {i for i in state_dict["state"] if i < len(weights) and weights[i] in own}
        rest = {i: state for i, state in state_dict["state"].items() if i not in divided}
        self.whole.load_state_dict({**state_dict, "state": rest})
        self.zero.remember({weights[i]: state_dict["state"][i] for i in divided})
