"""StableAdamW: AdamW whose step shrinks where a gradient is larger than its second moment says.

Wortsman et al., NeurIPS 2023, arXiv 2304.13013, algorithm 2, with AMSGrad as in Dinomaly's code: the update clipping of
Adafactor, one scale for each tensor. torch and timm have none.
"""

from collections.abc import Callable, Iterable
from typing import Any, overload

import torch
from torch import Tensor


class StableAdamW(torch.optim.Optimizer):
    """AdamW, its rate divided by max(1, RMS of gradient / denominator) for each tensor.

    Args:
        parameters: what is learned.
        lr: learning rate.
        betas: decay of the first and of the second moment.
        eps: added to the denominator.
        weight_decay: decoupled; it is multiplied by the rate.
        amsgrad: whether the denominator takes the largest second moment so far.
    """

    def __init__(
        self,
        parameters: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
    ) -> None:
        super().__init__(
            parameters, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "amsgrad": amsgrad}
        )

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """One update of all parameters that have a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        with torch.no_grad():
            for group in self.param_groups:
                for parameter in group["params"]:
                    if parameter.grad is not None:
                        self._update(parameter, group)
        return loss

    def _update(self, parameter: Tensor, group: dict[str, Any]) -> None:
        gradient, state = parameter.grad, self.state[parameter]
        assert gradient is not None
        if not state:
            state["step"] = 0
            names = ["exp_avg", "exp_avg_sq", *(["max_exp_avg_sq"] if group["amsgrad"] else [])]
            state.update({name: torch.zeros_like(parameter) for name in names})
        state["step"] += 1
        first, second = group["betas"]
        mean, square = state["exp_avg"], state["exp_avg_sq"]
        mean.lerp_(gradient, 1 - first)
        square.mul_(second).addcmul_(gradient, gradient, value=1 - second)
        if group["amsgrad"]:
            square = torch.maximum(state["max_exp_avg_sq"], square, out=state["max_exp_avg_sq"])
        denominator = (square / (1 - second ** state["step"])).sqrt_().add_(group["eps"])
        # A tensor, not a number: a GPU would be waited for.
        shrink = (gradient / denominator).square_().mean().sqrt_().clamp_(min=1)
        parameter.mul_(1 - group["lr"] * group["weight_decay"])
        parameter.sub_(mean / denominator * (group["lr"] / (1 - first ** state["step"]) / shrink))
