"""How `make lab` reads notebooks: one that has only been opened is not called unsaved."""

from typing import Any

from ipykernel.ipkernel import IPythonKernel
from jupyter_server.services.contents.largefilemanager import LargeFileManager


class Contents(LargeFileManager):
    """Files as JupyterLab sees them; notebooks come with what their kernel would add, as a change, when it starts."""

    def get(self, path: str, *args: Any, **options: Any) -> dict[str, Any]:
        """Return the model of a file or folder."""
        model: dict[str, Any] = super().get(path, *args, **options)
        if model["type"] == "notebook" and model["content"]:
            model["content"]["metadata"]["language_info"] = dict(IPythonKernel.language_info)
        return model
