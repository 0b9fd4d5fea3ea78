"""A case as a text for a command line, and back: the numbers of a small case, the recipe of a large one."""

from __future__ import annotations

from typing import Any, TypeVar

from refattn.contract.spec import AttentionSpec, SoftmaxSpec
from refattn.errors import InvalidType, InvalidValue
from refattn.inputs import regimes, tokens
from refattn.inputs.cases import AttentionCase, SoftmaxCase

RECIPE = "recipe:"
Case = TypeVar("Case", AttentionCase, SoftmaxCase)
_LETTERS = {AttentionCase: "a", SoftmaxCase: "s"}
_WORDS = {AttentionCase: "an attention", SoftmaxCase: "a softmax"}
_WORTH_A_RECIPE = 64


def token(case: AttentionCase | SoftmaxCase) -> str:
    """A URL-safe text from which `case_of` makes the same case again.

    For a case of more than a few numbers that a recipe made, it is the recipe.
    """
    arrays = case.tree()[0].values()
    if case.recipe is not None and sum(array.size for array in arrays) > _WORTH_A_RECIPE and _is_recipes(case):
        return RECIPE + case.recipe
    return _LETTERS[type(case)] + tokens.pack(case.tree())


def case_of(token: str, kind: type[Case]) -> Case:
    """The case of a token. Raises InvalidValue when it is not a case of that kind, InvalidType when it is no string."""
    if not isinstance(token, str):
        raise InvalidType(f"token is {type(token).__name__}: expected a string")
    if token.startswith(RECIPE):
        case = regimes.rebuild(token[len(RECIPE) :])
        if not isinstance(case, kind):
            raise InvalidValue(f"token {tokens.shortened(token)!r} is of another kind: expected {_WORDS[kind]} case's")
        return case
    if not token.startswith(_LETTERS[kind]):
        raise InvalidValue(
            f"token {tokens.shortened(token)!r} is not {_WORDS[kind]} case's: expected one made by refattn"
        )
    tree = tokens.unpack(token[1:])
    if not (isinstance(tree, list) and len(tree) == 3 and all(isinstance(part, dict) for part in tree)):
        raise InvalidValue(f"token {tokens.shortened(token)!r} holds no case: expected one made by refattn")
    arrays, labels, fields = tree
    try:
        return kind(**arrays, spec=_spec(kind, fields), **labels)
    except TypeError as error:
        raise InvalidValue(f"token {tokens.shortened(token)!r} holds no case ({error})") from None


def _is_recipes(case: AttentionCase | SoftmaxCase) -> bool:
    """True if the recipe still makes this case."""
    if case.recipe is None:
        return False
    rebuilt: Any = regimes.rebuild(case.recipe)
    return type(rebuilt) is type(case) and case.same_as(rebuilt)


def _spec(kind: type[Any], fields: dict[str, Any]) -> Any:
    if kind is SoftmaxCase:
        return SoftmaxSpec(**fields)
    pairs = {name: tuple(value) for name, value in fields.items() if isinstance(value, list)}
    return AttentionSpec(**{**fields, **pairs})
