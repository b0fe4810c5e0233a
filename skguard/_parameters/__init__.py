"""Parameters of an estimator: their names, where each is routed, and their copies."""

from skguard._parameters.names import (
    REQUIRED,
    ModelFunction,
    Signature,
    build_nested,
    check_call_names,
    check_names,
    check_set_names,
    constructor_names,
    implied_names,
    is_estimator,
    is_free,
    model_function,
    nested_holder,
    route,
    same_argument,
    signature_of,
)

__all__ = [
    "REQUIRED",
    "ModelFunction",
    "Signature",
    "build_nested",
    "check_call_names",
    "check_names",
    "check_set_names",
    "constructor_names",
    "implied_names",
    "is_estimator",
    "is_free",
    "model_function",
    "nested_holder",
    "route",
    "same_argument",
    "signature_of",
]
