"""The models and the queries of docs/django.md, run by Django on a database of the pipeline."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.postgres.connections import Connection
from pipeline.search import query_vectors
from pipeline.settings import Settings
from pipeline.spaces import Space
from tests.helpers.fakes import vector_of
from tests.helpers.workers import work

BLOCKS = re.findall(
    r"```python\n(.*?)```", (Path(__file__).parents[2] / "docs/django.md").read_text("utf-8"), re.S
)
SCRIPT = """
import sys, django
from django.conf import settings
from django.core.management import call_command

settings.configure(
    DATABASES={"default": {"ENGINE": "django.db.backends.postgresql", "NAME": sys.argv[2],
                           "HOST": sys.argv[3], "PORT": sys.argv[4], "USER": sys.argv[5]}},
    INSTALLED_APPS=["shop"], USE_TZ=True,
)
django.setup()
from shop.models import MultimodalItem, SourceItem

if sys.argv[1] == "add":
    call_command("check", fail_level="WARNING", databases=["default"])
    for word in ("ant", "bee", "cat"):
        item = SourceItem(source="shop", source_key=word, modality="text", content_ref=word)
        item.full_clean()
        item.save()
    SourceItem.objects.filter(source_key="bee").update(metadata={"wings": 4})
    SourceItem.objects.get(source_key="cat").delete()
else:
    number = MultimodalItem.objects.get(content_ref="bee").id
    text = open("queries.py").read().replace("id=42", f"id={number}").replace('"image"', '"text"')
    for line in text.replace("\\nimages.order_by", "\\nfound = images.order_by").split("\\n\\n"):
        exec(line)
        if "found" in globals():
            print(*(item.content_ref for item in found), found[0].source_item.metadata)
"""


def test_django_adds_and_finds(
    settings: Settings, space: Space, connection: Connection, tmp_path: Path
) -> None:
    pytest.importorskip("django")
    models, queries = BLOCKS
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop/__init__.py").touch()
    (tmp_path / "shop/models.py").write_text(models)
    (tmp_path / "queries.py").write_text(queries)
    (tmp_path / "run.py").write_text(SCRIPT)
    info = connection.info

    def django(step: str) -> str:
        done = subprocess.run(
            [sys.executable, "-W", "error", "run.py", step, info.dbname, info.host,
             str(info.port), info.user],
            cwd=tmp_path, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "no issues" in django("add")
    work(settings, space)
    query_vectors.store(connection, space.id, "a red bicycle", vector_of(b"bee"))
    assert django("search").splitlines() == ["bee ant {'wings': 4}"] * 2
