"""Who may see the pages: whom Airflow lets see its plugins."""

from __future__ import annotations

from airflow.api_fastapi.auth.managers.models.resource_details import AccessView
from airflow.api_fastapi.core_api.security import requires_access_view
from fastapi import Depends

#: A route that has it answers 401 to whoever is not logged in to Airflow, and 403 to whom its auth manager does not let
#: see plugins.
MAY_SEE_PLUGINS = Depends(requires_access_view(AccessView.PLUGINS))
