"""Build of the compiled module: one static library for each instruction set, then the bindings.

The name, version and dependencies of the project stand in pyproject.toml. In the environment,
``PYFAST_NN_WERROR=1`` turns compiler warnings into errors, and ``PYFAST_NN_ISAS=avx512,portable``
builds these instruction sets only. ``PYFAST_NN_CUDA=1`` builds the library for GPUs besides, with
nvcc, and ``PYFAST_NN_CUDA=90,120`` for GPUs of these compute capabilities only.
"""

import copy
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import BoundedSemaphore

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_clib import build_clib
from setuptools.command.build_ext import build_ext

COMMON = ["-std=c++17", "-g0", "-fPIC", "-fopenmp", "-Wall", "-Wextra"]
COMMON += ["-fvisibility=hidden", "-fvisibility-inlines-hidden"]
COMMON += ["-Wno-pass-failed"]  # Clang: not every loop that may be vectorised is, in every set
WARNINGS_ARE_ERRORS = os.environ.get("PYFAST_NN_WERROR", "0") != "0"
if WARNINGS_ARE_ERRORS:
    COMMON += ["-Werror"]

# Never -ffast-math, never -march=native: results depend on neither the compiler's mood nor its
# machine. Without -fno-math-errno and -fno-trapping-math GCC does not vectorise sqrt; -fno-wrapv
# undoes what many Pythons pass to their extensions.
NUMERICS = ["-O3", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math", "-fno-wrapv"]

X86_ISAS = {
    "avx512": [
        *("-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mavx512cd"),
        *("-mfma", "-mbmi2", "-mprefer-vector-width=512"),
    ],
    "avx2": ["-mavx2", "-mfma", "-mbmi2"],
}
IS_X86 = platform.machine().lower() in ("x86_64", "amd64") and sys.maxsize > 2**32
ISAS = {**(X86_ISAS if IS_X86 else {}), "portable": []}
if wanted := os.environ.get("PYFAST_NN_ISAS"):
    if unknown := set(wanted.split(",")) - ISAS.keys():
        raise SystemExit(
            f"PYFAST_NN_ISAS: expected some of {','.join(ISAS)}, got {','.join(sorted(unknown))}"
        )
    ISAS = {isa: flags for isa, flags in ISAS.items() if isa in wanted.split(",")}

# The same meaning on a GPU: no contraction, quotients and roots rounded right, denormals as 0.
NVCC = ["-std=c++17", "-O3", "-fmad=false", "-ftz=true", "-prec-div=true", "-prec-sqrt=true"]
NVCC += ["--compress-mode=size", "-Xcompiler", "-fPIC,-fvisibility=hidden,-Wall,-Wextra"]
# What the headers of the processor ask of GCC, and what nvcc hands it for pointers to members.
NVCC += ["--diag-suppress=1675", "-Xcompiler=-Wno-unknown-pragmas,-Wno-parentheses"]
if WARNINGS_ARE_ERRORS:
    NVCC += ["-Werror", "all-warnings"]
CAPABILITIES = ["75", "80", "86", "89", "90", "100", "120"]
CUDA = os.environ.get("PYFAST_NN_CUDA", "0")
if CUDA not in ("0", "1"):
    if unknown := set(CUDA.split(",")) - set(CAPABILITIES):
        raise SystemExit(
            f"PYFAST_NN_CUDA: expected 1, or some of {','.join(CAPABILITIES)}, got "
            f"{','.join(sorted(unknown))}"
        )
    CAPABILITIES = [each for each in CAPABILITIES if each in CUDA.split(",")]

UNITS = sorted(str(path) for path in Path("csrc/isa").glob("*.cpp"))
HEADERS = sorted(str(path) for path in Path("csrc").rglob("*.h"))
BUILD_FILES = ["setup.py", "pyproject.toml"]


def refuse_unsupported(compiler):
    """Stop with one clear line where the sources are known not to build."""
    if compiler.compiler_type == "msvc":
        raise SystemExit(
            "pyfast_nn cannot be built with MSVC: its kernels use the vector extensions "
            "of GCC and Clang. On Windows use WSL."
        )
    if sys.platform in ("win32", "darwin"):
        raise SystemExit(
            f"pyfast_nn builds on Linux with GCC or Clang; not yet on {platform.system()}."
        )


def is_fresh(object_file, options):
    """Whether an object file was made with these options, and is newer than all that was read."""
    dependency_file = object_file.with_suffix(".d")  # written by -MMD
    options_file = object_file.with_suffix(".options")
    if not all(file.exists() for file in (object_file, dependency_file, options_file)):
        return False
    if options_file.read_text() != options:
        return False
    rule = dependency_file.read_text().replace("\\\n", " ")
    made = object_file.stat().st_mtime
    inputs = [Path(name) for name in rule.split(": ", 1)[1].split() + BUILD_FILES]
    return all(path.exists() and path.stat().st_mtime < made for path in inputs)


def compile_stale_in_parallel(compiler):
    """Make ``compiler.compile`` skip fresh objects and compile the others side by side."""
    compile_serially = compiler.compile
    processors = BoundedSemaphore(os.cpu_count())  # libraries are built side by side, too

    def compile_one(source, output_dir, **options):
        (object_file,) = compiler.object_filenames([source], output_dir=output_dir)
        with processors:
            if not is_fresh(Path(object_file), repr(options)):
                postargs = [*(options.get("extra_postargs") or []), "-MMD"]
                compile_serially(
                    [source], output_dir=output_dir, **{**options, "extra_postargs": postargs}
                )
                Path(object_file).with_suffix(".options").write_text(repr(options))
        return object_file

    def compile_all(sources, output_dir=None, **options):
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            return list(
                pool.map(lambda source: compile_one(source, output_dir, **options), sources)
            )

    compiler.compile = compile_all


def find_nvcc():
    """NVIDIA's compiler: of CUDA_HOME, CUDA_PATH or PATH, or of its wheels in this environment."""
    homes = [os.environ[name] for name in ("CUDA_HOME", "CUDA_PATH") if os.environ.get(name)]
    wheels = [str(Path(folder) / "nvidia" / "cu13") for folder in sys.path]
    for path in (*(f"{home}/bin" for home in homes), None, *(f"{home}/bin" for home in wheels)):
        if found := shutil.which("nvcc", path=path):
            return found
    raise SystemExit(
        "PYFAST_NN_CUDA: expected nvcc of CUDA 13, got none in CUDA_HOME, CUDA_PATH, PATH and the "
        "wheels of this environment; pip install 'nvidia-cuda-nvcc==13.0.*' "
        "'nvidia-cuda-crt==13.0.*' 'nvidia-cuda-cccl==13.0.*' 'nvidia-cuda-runtime==13.0.*' and "
        "--no-build-isolation, or CUDA_HOME=<folder>"
    )


def build_with_nvcc(sources, to, scratch, definitions):
    """The library for GPUs at the path `to`: one that needs no other but a driver."""
    nvcc = find_nvcc()
    architectures = [f"-gencode=arch=compute_{n},code=sm_{n}" for n in CAPABILITIES]
    newest = CAPABILITIES[-1]  # for GPUs to come, which the driver compiles for
    architectures += [f"-gencode=arch=compute_{newest},code=compute_{newest}"]
    options = [nvcc, *NVCC, *architectures, "-Icsrc", *definitions]

    def compile_one(source):
        object_file = scratch / f"{source}.o"
        if not is_fresh(object_file, repr(options)):
            object_file.parent.mkdir(parents=True, exist_ok=True)
            dependencies = ["-MMD", "-MF", str(object_file.with_suffix(".d"))]
            command = [*options, *dependencies, "-c", source, "-o", str(object_file)]
            print(*command, flush=True)
            subprocess.run(command, check=True)
            object_file.with_suffix(".options").write_text(repr(options))
        return str(object_file)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        objects = list(pool.map(compile_one, sources))
    home = Path(nvcc).resolve().parent.parent
    folders = [f"-L{home / name}" for name in ("lib", "lib64") if (home / name).is_dir()]
    Path(to).parent.mkdir(parents=True, exist_ok=True)
    command = [nvcc, "-shared", "-cudart=static", "-Xlinker=--exclude-libs=ALL,-z,defs", *folders]
    command += [*objects, "-o", to]
    print(*command, flush=True)
    subprocess.run(command, check=True)


class BuildLibraries(build_clib):
    """All instruction sets side by side, in a folder that every Python version shares."""

    def finalize_options(self):
        super().finalize_options()
        self.build_clib = self.build_temp = str(Path("build") / f"isa.{sysconfig.get_platform()}")

    def build_libraries(self, libraries):
        refuse_unsupported(self.compiler)
        compile_stale_in_parallel(self.compiler)
        with ThreadPoolExecutor(len(libraries)) as pool:
            list(pool.map(self.build_library, libraries))

    def build_library(self, library):
        name, _ = library
        command = copy.copy(self)  # whose units have the names of those of other libraries
        command.build_temp = str(Path(self.build_temp) / name)
        archive = Path(self.compiler.library_filename(name, output_dir=self.build_clib))
        archive.unlink(missing_ok=True)  # or it would keep the code of units that are no more
        build_clib.build_libraries(command, [library])


class BuildExtension(build_ext):
    def run(self):
        self.run_command("build_clib")  # `setup.py build_ext` alone would not
        super().run()

    def build_extensions(self):
        import pybind11

        refuse_unsupported(self.compiler)
        compile_stale_in_parallel(self.compiler)
        self.force = self.compiler.force = True  # link: what is stale, is seen file by file
        for extension in self.extensions:
            extension.include_dirs.append(pybind11.get_include())
            extension.define_macros.append(("FNN_VERSION", f'"{self.distribution.get_version()}"'))
        super().build_extensions()

    def build_extension(self, extension):
        if extension is not cuda:
            return super().build_extension(extension)
        definitions = [f"-D{name}={value}" for name, value in extension.define_macros]
        scratch = Path("build") / f"cuda.{sysconfig.get_platform()}"
        to = self.get_ext_fullpath(extension.name)
        return build_with_nvcc(extension.sources, to, scratch, definitions)


class BuildCuda(BuildExtension):
    """The library for GPUs alone."""

    def finalize_options(self):
        super().finalize_options()
        self.extensions = [cuda]

    def run(self):
        build_ext.run(self)


def isa_library(isa, flags):
    build_info = {
        "sources": UNITS,
        "include_dirs": ["csrc"],
        "cflags": [*COMMON, *NUMERICS, *flags, f"-DFNN_ISA={isa}"],
        "obj_deps": {"": [*HEADERS, *BUILD_FILES]},
    }
    return f"fnn_{isa}", build_info


core = Extension(
    "pyfast_nn._core",
    sources=sorted(
        str(path)
        for path in Path("csrc").glob("*/*.cpp")
        if path.parent.name not in ("isa", "cuda")
    ),
    include_dirs=["csrc"],
    define_macros=[(f"FNN_HAVE_{isa.upper()}", "1") for isa in ISAS],
    extra_compile_args=[*COMMON, "-O2"],
    extra_link_args=["-fopenmp"],
    language="c++",
)

# SciPy's BLAS, looked up when it is imported: nothing of SciPy is needed here.
blas = Extension("pyfast_nn._blas", sources=["pyfast_nn/_blas.pyx"])

# No module of Python, but a library that `core` opens when somebody asks for a GPU.
cuda = Extension(
    "pyfast_nn._cuda",
    sources=[*sorted(str(path) for path in Path("csrc/cuda").glob("*.cu")), "csrc/exec/memory.cpp"],
    define_macros=[("FNN_ISA", "cuda")],
)

extensions = [core, *cythonize(blas, build_dir="build/cython", quiet=True)]
if CUDA != "0":
    extensions.append(cuda)

setup(
    ext_modules=extensions,
    libraries=[isa_library(isa, flags) for isa, flags in ISAS.items()],
    cmdclass={
        "build_clib": BuildLibraries,
        "build_ext": BuildExtension,
        "build_cuda": BuildCuda,
    },
)
