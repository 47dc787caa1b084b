"""The C as packages of build systems: manifests by their rules, builds with stand-ins.

Where a build system is too large to be here, its CMake or its main loop
is played by a few lines, and the package's own files are run with them.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import get_args

import onnx
import pytest
import yaml

from wav2small.cli.code import Package
from wav2small.export.base.errors import ExportError
from wav2small.export.c99 import generate
from wav2small.export.c99.packages import KINDS, arranged
from wav2small.models import find_onnx

ROOT = Path(__file__).parent.parent
MODEL = "wav2small-rt-mini"
SEMANTIC = r"\d+\.\d+\.\d+"
CC = shutil.which("cc") or "cc"


def needs(tool: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(
        shutil.which(tool) is None, reason=f"no {tool}: not tried with it"
    )


@pytest.fixture(scope="module")
def packages(tmp_path_factory) -> dict[str, Path]:
    """One package of each kind, with a prefix that is not the project's name."""
    folder = tmp_path_factory.mktemp("packages")
    for kind in KINDS:
        generate(find_onnx(MODEL), folder / kind, "left_ear", None, kind)
    return {kind: folder / kind for kind in KINDS}


def files(folder: Path) -> set[str]:
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file()
    }


def call(*words: object, cwd: Path | None = None) -> str:
    done = subprocess.run(
        [str(word) for word in words], cwd=cwd, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


# -- what all kinds have -----------------------------------------------------


def test_the_command_offers_each_kind(run, tmp_path):
    assert get_args(Package) == tuple(KINDS)
    code, out, _ = run("c99", MODEL, tmp_path / "c", "--package", "zephyr")
    assert (code, out) == (0, f"{tmp_path / 'c'}\n")
    assert (tmp_path / "c" / "zephyr" / "module.yml").is_file()


@pytest.mark.parametrize("kind", KINDS)
def test_c_licence_and_notice_travel(kind, packages, tmp_path):
    generate(find_onnx(MODEL), tmp_path, "left_ear")
    folder = packages[kind]
    found = {path.name: path for path in folder.rglob("*") if path.is_file()}
    for path in tmp_path.glob("left_ear*"):
        data = found[path.name].read_bytes()
        if path.name == "left_ear_selftest.c":
            head, _, data = data.partition(b"\n\n")
            assert b"#define LEFT_EAR_NO_MAIN" in head
        assert data == path.read_bytes()
    assert (folder / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()
    notice = (folder / "NOTICE").read_text()
    stated = {e.key: e.value for e in onnx.load(find_onnx(MODEL)).metadata_props}
    training = json.loads(stated["provenance"])["training_data"]
    assert f"licence: {stated['licence']}\n" in notice
    assert f"training data: {training}\n" in notice
    assert "README.md" in found


@pytest.mark.parametrize("kind", KINDS)
def test_names_follow_the_prefix_and_no_value_is_left_open(kind, packages):
    for name in files(packages[kind]) - {"LICENSE", "NOTICE"}:
        if name.endswith(".bin"):
            continue
        text = (packages[kind] / name).read_text()
        assert not re.search("@[a-z]+@", text), name
        manifest = name.endswith((".pdsc", ".properties", ".json", "README.md"))
        if not (manifest or "/left_ear" in name):
            assert "wav2small" not in text, name


def test_what_a_model_says_of_itself_stays_text():
    about = {
        "licence": 'MIT"\n<evil/>',
        "use": "any\n#define X",
        "provenance": '{"teacher": "a\\nlicence: CC0-1.0"}',
    }
    for kind in KINDS:
        made = arranged(kind, {"ear.c": b""}, "ear", "1.2.3.dev4", about)
        notice = made["NOTICE"].decode()
        assert "\n#define X" not in notice
        assert notice.count("\nlicence: ") == 1
        manifests = [n for n in made if n.endswith((".yml", ".json", ".pdsc", "ties"))]
        assert manifests or kind == "cmake"
        for name in manifests:
            assert b"evil" not in made[name]
            assert b"dev4" not in made[name]


def test_another_kind_is_refused_and_nothing_is_written(tmp_path):
    with pytest.raises(ExportError, match=r"package must be one of cmake, .*'make'"):
        generate(find_onnx(MODEL), tmp_path / "c", package="make")
    assert not (tmp_path / "c").exists()


# -- CMake -------------------------------------------------------------------


@needs("cmake")
def test_cmake_builds_tests_installs_and_is_found(packages, tmp_path):
    source = packages["cmake"]
    call("cmake", "-S", source, "-B", tmp_path / "b", "-DCMAKE_BUILD_TYPE=Release")
    call("cmake", "--build", tmp_path / "b")
    assert "100% tests passed" in call("ctest", "--test-dir", tmp_path / "b")
    call("cmake", "--install", tmp_path / "b", "--prefix", tmp_path / "there")
    installed = files(tmp_path / "there")
    assert {"include/left_ear.h", "include/left_ear_decide.h"} <= installed
    assert {Path(name).name for name in installed} >= {"LICENSE", "NOTICE"}
    # the example alone, from what was installed
    shutil.copytree(source / "examples" / "selftest", tmp_path / "mine")
    where = f"-DCMAKE_PREFIX_PATH={tmp_path / 'there'}"
    call("cmake", "-S", tmp_path / "mine", "-B", tmp_path / "user", where)
    call("cmake", "--build", tmp_path / "user")
    said = call(tmp_path / "user" / "left_ear_selftest")
    assert said == "golden vectors agree\n"


# -- Zephyr ------------------------------------------------------------------

ZEPHYR = """
cmake_minimum_required(VERSION 3.20)
project(stand_in C)
set(CONFIG_LEFT_EAR y)
macro(zephyr_include_directories)
  include_directories(${ARGN})
endmacro()
macro(zephyr_library_named name)
  set(ZEPHYR_CURRENT_LIBRARY ${name})
  add_library(${name} STATIC)
endmacro()
macro(zephyr_library_sources)
  target_sources(${ZEPHYR_CURRENT_LIBRARY} PRIVATE ${ARGN})
endmacro()
include(${MODULE}/zephyr/CMakeLists.txt)
file(GLOB sources ${MODULE}/samples/selftest/src/*.c)
add_executable(app ${sources})
target_include_directories(app PRIVATE ${CMAKE_CURRENT_SOURCE_DIR}/headers)
target_link_libraries(app PRIVATE left_ear)
"""


@needs("cmake")
def test_zephyr_builds_the_module_and_its_sample(packages, tmp_path):
    module = packages["zephyr"]
    headers = tmp_path / "headers" / "zephyr"
    (headers / "sys").mkdir(parents=True)
    (headers / "kernel.h").write_text("")
    (headers / "sys" / "printk.h").write_text(
        "#include <stdio.h>\n#define printk printf"
    )
    (tmp_path / "CMakeLists.txt").write_text(ZEPHYR)
    call("cmake", "-S", tmp_path, "-B", tmp_path / "b", f"-DMODULE={module}")
    call("cmake", "--build", tmp_path / "b")
    assert call(tmp_path / "b" / "app") == "golden vectors agree\n"


def test_zephyr_module_by_its_schema(packages):
    """As ``METADATA_SCHEMA`` and ``process_cmake`` of ``zephyr_module.py`` ask for."""
    folder = packages["zephyr"]
    module = yaml.safe_load((folder / "zephyr" / "module.yml").read_text())
    assert set(module) <= {"name", "build", "tests", "samples", "boards", "blobs"}
    assert module["name"] == "left_ear"
    assert set(module["build"]) <= {"cmake", "kconfig", "depends", "settings"}
    assert (folder / module["build"]["cmake"] / "CMakeLists.txt").is_file()
    kconfig = (folder / module["build"]["kconfig"]).read_text()
    assert kconfig.startswith("config LEFT_EAR\n\tbool ")
    (samples,) = module["samples"]
    (sample,) = (folder / samples).rglob("sample.yaml")
    stated = yaml.safe_load(sample.read_text())
    assert set(stated) <= {"sample", "tests", "common"}
    (test,) = stated["tests"].values()
    (line,) = test["harness_config"]["regex"]
    assert line in (sample.parent / "src" / "main.c").read_text()
    assert (sample.parent / "prj.conf").read_text() == "CONFIG_LEFT_EAR=y\n"


# -- ESP-IDF -----------------------------------------------------------------

IDF = """
cmake_minimum_required(VERSION 3.16)
project(stand_in C)
function(idf_component_register)
  cmake_parse_arguments(a "" "" "SRCS;SRC_DIRS;INCLUDE_DIRS;PRIV_INCLUDE_DIRS" ${ARGN})
  foreach(folder ${a_SRC_DIRS})
    file(GLOB found ${CMAKE_CURRENT_SOURCE_DIR}/${folder}/*.c)
    list(APPEND a_SRCS ${found})
  endforeach()
  get_filename_component(name ${CMAKE_CURRENT_SOURCE_DIR} NAME)
  string(REPLACE "-" "_" name ${name})
  add_library(${name} STATIC ${a_SRCS})
  target_include_directories(${name} PUBLIC ${a_INCLUDE_DIRS}
    PRIVATE ${a_PRIV_INCLUDE_DIRS})
endfunction()
add_subdirectory(${COMPONENT} component)
add_subdirectory(${COMPONENT}/examples/selftest/main main)
get_filename_component(component ${COMPONENT} NAME)
string(REPLACE "-" "_" component ${component})
target_link_libraries(main PUBLIC ${component})
file(WRITE ${CMAKE_CURRENT_BINARY_DIR}/start.c
  "void app_main(void); int main(void) { app_main(); return 0; }")
add_executable(app ${CMAKE_CURRENT_BINARY_DIR}/start.c)
target_link_libraries(app main)
"""


@needs("cmake")
def test_esp_idf_builds_the_component_and_its_example(packages, tmp_path):
    (tmp_path / "CMakeLists.txt").write_text(IDF)
    component = f"-DCOMPONENT={packages['esp-idf']}"
    call("cmake", "-S", tmp_path, "-B", tmp_path / "b", component)
    call("cmake", "--build", tmp_path / "b")
    assert call(tmp_path / "b" / "app") == "golden vectors agree\n"


def test_esp_idf_manifests_by_their_rules(packages):
    folder = packages["esp-idf"]
    stated = yaml.safe_load((folder / "idf_component.yml").read_text())
    known = {"version", "description", "license", "url", "tags", "dependencies"}
    assert set(stated) == known
    assert re.fullmatch(SEMANTIC, stated["version"])
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{3,32}", tag) for tag in stated["tags"])
    assert stated["url"].startswith("https://")
    assert stated["license"] == "Apache-2.0"
    main = folder / "examples" / "selftest" / "main"
    wanted = yaml.safe_load((main / "idf_component.yml").read_text())["dependencies"]
    assert (main / wanted["left_ear"]["override_path"]).resolve() == folder.resolve()


@needs("compote")
def test_esp_idf_component_is_packed_by_its_manager(packages, tmp_path):
    shutil.copytree(packages["esp-idf"], tmp_path / "left_ear")
    call(
        "compote", "component", "pack", "--name", "left_ear", cwd=tmp_path / "left_ear"
    )
    assert list((tmp_path / "left_ear" / "dist").glob("left_ear_*.tgz"))


# -- Arduino -----------------------------------------------------------------

SKETCH = """
#include <cstdio>
struct {
  operator bool() const { return true; }
  void begin(long) {}
  void print(const char *text) { std::printf("%s", text); }
  void println(const char *text) { std::printf("%s\\n", text); }
  void println(int number) { std::printf("%d\\n", number); }
} Serial;
#include "Selftest.ino"
int main() { setup(); loop(); }
"""


@needs("c++")
def test_arduino_sketch_runs_the_selftest(packages, tmp_path):
    library = packages["arduino"]
    example = library / "examples" / "Selftest"
    (tmp_path / "sketch.cpp").write_text(SKETCH)
    objects = []
    for source in [*library.glob("src/*.c"), *example.glob("*.c")]:
        objects.append(tmp_path / f"{source.stem}.o")
        include = f"-I{library / 'src'}"
        call(CC, "-O1", "-c", include, source, "-o", objects[-1])
    where = [f"-I{library / 'src'}", f"-I{example}"]
    call("c++", *where, tmp_path / "sketch.cpp", *objects, "-o", tmp_path / "sketch")
    assert call(tmp_path / "sketch") == "golden vectors agree\n"


@needs("arm-none-eabi-gcc")
def test_arduino_library_compiles_as_its_arm_cores_do(packages, tmp_path):
    library = packages["arduino"]
    warnings = ["-Wall", "-Wextra", "-Werror"]
    flags = ["-mcpu=cortex-m4", "-mthumb", "-Os", "-std=gnu11", *warnings]
    for source in library.rglob("*.c"):
        include = f"-I{library / 'src'}"
        call("arm-none-eabi-gcc", *flags, include, "-c", source, "-o", tmp_path / "x.o")


@needs("avr-gcc")
def test_arduino_library_says_that_avr_is_too_small(packages, tmp_path):
    source = packages["arduino"] / "src" / "left_ear.c"
    done = subprocess.run(
        ["avr-gcc", "-mmcu=atmega328p", "-c", source, "-o", tmp_path / "x.o"],
        capture_output=True,
        text=True,
    )
    assert done.returncode != 0
    assert "an int must have 32 bits" in done.stderr


def test_arduino_library_by_the_specification(packages):
    folder = packages["arduino"]
    lines = (folder / "library.properties").read_text().splitlines()
    stated = dict(line.split("=", 1) for line in lines)
    assert " ".join(stated) == (
        "name version author maintainer sentence "
        "paragraph category url architectures includes"
    )
    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9 _.-]{0,62}", stated["name"])
    assert "arduino" not in stated["name"].lower() + stated["maintainer"].lower()
    assert re.fullmatch(SEMANTIC, stated["version"])
    assert stated["category"] == "Data Processing"
    assert stated["url"].startswith("https://")
    assert not stated["paragraph"].startswith(stated["sentence"])
    assert "avr" not in stated["architectures"].split(",")
    assert (folder / "src" / stated["includes"]).is_file()
    for sketch in folder.glob("examples/**/*.ino"):
        assert sketch.stem == sketch.parent.name
    assert {name.partition("/")[0] for name in files(folder)} <= {
        "src", "examples", "extras", "library.properties", "README.md", "LICENSE",
        "NOTICE",
    }  # fmt: skip


@needs("arduino-lint")
def test_arduino_library_passes_its_linter(packages):
    call("arduino-lint", "--library-manager", "submit", packages["arduino"])


# -- PlatformIO and CMSIS pack -----------------------------------------------


@pytest.mark.parametrize("kind", ["platformio", "cmsis-pack"])
def test_example_runs_with_the_folders_that_are_searched(kind, packages, tmp_path):
    folder = packages[kind]
    sources = [*folder.glob("src/*.c"), *folder.glob("examples/**/*.c")]
    include = [f"-I{folder / 'include'}", f"-I{folder / 'src'}"]
    call(CC, "-std=c99", "-O1", *include, *sources, "-o", tmp_path / "app")
    assert call(tmp_path / "app") == "golden vectors agree\n"


def test_platformio_manifest_by_its_schema(packages):
    folder = packages["platformio"]
    stated = json.loads((folder / "library.json").read_text())
    assert " ".join(stated) == (
        "name version description keywords homepage "
        "license authors frameworks platforms headers examples"
    )
    assert re.fullmatch(r"[^:;/,@<>]{1,100}", stated["name"])
    assert re.fullmatch(SEMANTIC, stated["version"])
    assert 1 <= len(stated["description"]) <= 1000
    assert all(re.fullmatch(r"[a-z\d_\- ]+", word) for word in stated["keywords"])
    assert (folder / "include" / stated["headers"]).is_file()
    (example,) = stated["examples"]
    base = folder / example["base"]
    assert set(example["files"]) == files(base)
    settings = (base / "platformio.ini").read_text()
    (link,) = re.findall("^lib_deps = symlink://(.*)$", settings, re.M)
    assert (base / link).resolve() == folder.resolve()


def test_cmsis_pack_by_its_schema(packages):
    """As ``PACK.xsd`` of Open-CMSIS-Pack orders and names elements."""
    folder = packages["cmsis-pack"]
    (description,) = folder.glob("*.pdsc")
    package = ET.parse(description).getroot()
    order = (
        "vendor name description url license releases keywords conditions components"
    )
    assert [child.tag for child in package] == order.split()
    vendor, name = package.findtext("vendor"), package.findtext("name")
    assert description.name == f"{vendor}.{name}.pdsc"
    assert re.fullmatch(r"[-_A-Za-z0-9]+", f"{vendor}{name}")
    for release in package.iter("release"):
        assert re.fullmatch(SEMANTIC, release.attrib["version"])
    conditions = {entry.attrib["id"] for entry in package.iter("condition")}
    used = {
        entry.get("condition") for entry in package.iter() if entry.get("condition")
    }
    assert used == conditions
    listed = [entry.attrib["name"] for entry in package.iter("file")]
    assert len(listed) == len(set(listed))
    assert set(listed) | {"LICENSE", description.name, "extras/left_ear_model.bin"} == (
        files(folder)
    )
    components = {
        tuple(entry.get(part) for part in ("Cclass", "Cgroup", "Csub"))
        for entry in package.iter("component")
    }
    for required in package.iter("require"):
        if required.get("Cclass"):
            wanted = tuple(required.get(part) for part in ("Cclass", "Cgroup", "Csub"))
            assert wanted in components
    for entry in package.iter("file"):
        assert entry.attrib["category"] in {"doc", "other", "header", "source"}
        assert (entry.get("attr") == "template") == (entry.get("select") is not None)
