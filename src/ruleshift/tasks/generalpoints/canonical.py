"""One text for all formulas that mean the same: what the solver calls one solution, of any formula that can be read."""

from ruleshift.tasks.generalpoints.expression import FormulaError, checked_tokens, evaluate, formula_in
from ruleshift.tasks.generalpoints.solver import Node, join, number_node


class _Form:
    """A number that keeps the canonical formula by which it was reached."""

    def __init__(self, node: Node) -> None:
        self.node = node

    def _with(self, sign: str, other: "_Form") -> "_Form":
        return _Form(join(sign, self.node, other.node))

    def __add__(self, other: "_Form") -> "_Form":
        return self._with("+", other)

    def __sub__(self, other: "_Form") -> "_Form":
        return self._with("-", other)

    def __mul__(self, other: "_Form") -> "_Form":
        return self._with("*", other)

    def __truediv__(self, other: "_Form") -> "_Form":
        return self._with("/", other)


def canonical(text: str) -> str | None:
    """A formula, or the equation that it stands in, up to the order of operands and needless parentheses. None where it
    cannot be read. Never raises, in bounded time; nothing is calculated, so that dividing by zero is a form too."""
    try:
        tokens = checked_tokens(formula_in(text))
    except FormulaError:
        return None
    found = evaluate(tokens, lambda digits: _Form(number_node(int(digits))))
    return None if found is None else found.node.text
