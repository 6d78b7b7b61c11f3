"""How `make lab` opens the chapters: nothing goes into the home folder, and no notebook is called unsaved at once."""

from typing import Any

from ipykernel.ipkernel import IPythonKernel
from jupyter_server.services.contents.largefilemanager import LargeFileManager


class Contents(LargeFileManager):
    """Files as JupyterLab sees them; notebooks come with what their kernel would add, as a change, when it starts."""

    def get(self, path: str, *args: Any, **options: Any) -> dict[str, Any]:
        """Return the model of a file or folder."""
        model: dict[str, Any] = super().get(path, *args, **options)
        if model["type"] == "notebook" and model["content"]:
            model["content"]["metadata"]["language_info"] = dict(
                IPythonKernel.language_info
            )
        return model


c = get_config()  # noqa: F821 (Jupyter's)
c.ServerApp.root_dir = "."
c.ServerApp.contents_manager_class = Contents
c.LabApp.default_url = "/lab/tree/notebooks/00_start.ipynb"
c.LabApp.workspaces_dir = "build/lab-workspaces"
c.LabApp.app_settings_dir = "notebooks/jupyter_lab"
c.ContentsManager.hide_globs = [
    "__pycache__",
    "*.pyc",
    "*~",
    "[0-9][0-9]*_*.py",
    "explorer.py",
    "my_data.py",
    "ruff.toml",
    "jupyter_lab",
]
c.KernelManager.transport_encryption = "auto"
