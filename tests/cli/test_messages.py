"""Messages in the language of the locale."""

from __future__ import annotations

import pytest
from tests.cli.doubles import FakePush, run

from ocipush import errors
from ocipush._cli.messages import is_chinese


def test_success_line_is_chinese_in_a_chinese_locale(fake_push: FakePush) -> None:
    done = run("push", "app", env={"LC_ALL": "zh_CN.UTF-8"})
    assert done.stderr.endswith("镜像已推送到远程仓库: r.example/team/app:1\n")
    assert "pushed" not in done.stderr


@pytest.mark.parametrize(
    ("locale", "line"),
    [
        ("zh_CN.UTF-8", "error: 在本地镜像存储目录中未找到指定镜像"),
        ("en_US.UTF-8", "error: no image 'app' in the store"),
    ],
)
def test_missing_image_is_reported_in_the_language_of_the_locale(fake_push: FakePush, locale: str, line: str) -> None:
    fake_push.raises = errors.ImageNotFoundError("no image 'app' in the store", hint="did you mean 'apt'?")
    done = run("push", "app", "--progress", "none", env={"LC_ALL": locale})
    assert done.stderr.splitlines()[-2:] == [line, "hint: did you mean 'apt'?"]


@pytest.mark.parametrize(
    ("environ", "chinese"),
    [
        ({}, False),
        ({"LANG": "zh_TW"}, True),
        ({"LC_ALL": "C", "LANG": "zh_CN"}, False),
        ({"LC_ALL": "", "LANG": "zh"}, True),
    ],
)
def test_first_locale_variable_that_is_set_decides(environ: dict[str, str], chinese: bool) -> None:
    assert is_chinese(environ) is chinese
