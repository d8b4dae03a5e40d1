"""Every name that the declarations use is declared."""

from __future__ import annotations

from tests.reference import columns as kinds
from tests.reference import sql
from tests.reference.declared import Declared


def check_names(declared: Declared) -> None:
    """Raise on every name in features, columns and conditions that nothing declares."""
    seen = {name for column in declared.columns for name in kinds.view_names(column)}
    fields = {about.name for about in declared.fields}
    scores = {model.name for model in declared.models}
    known = seen | scores | {f"event.{name}" for name in fields}
    wrong = [f"feature {f.view}" for f in declared.features if f.view is not None and f.view not in seen]
    wrong += [f"column {c.name}: field {c.field}" for c in declared.columns if c.field not in {None} | fields]
    for policy in declared.policies:
        for text in (policy.when, policy.exit):
            used = sql.names(sql.parse(text)) if text is not None else []
            wrong += [f"policy {policy.name}: {name}" for name in used if name not in known]
    for model in declared.models:
        wrong += [
            f"model {model.name}: {name}"
            for name in (model.amount, model.same)
            if name not in {None} | fields
        ]
        used = sql.names(sql.parse(model.condition)) if model.condition else []
        wrong += [f"model {model.name}: {name}" for name in used if name not in known - scores]
    if wrong:
        raise ValueError("not declared: " + ", ".join(wrong))
