"""Training starts without what it does not use."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_training_imports_no_plotting_and_no_metrics_of_translation():
    code = (
        "import sys; from trainer.cli.lean_imports import without_matplotlib\n"
        "with without_matplotlib():\n    import trainer.training.run\n"
        "assert 'keras' in sys.modules\n"
        "print(*{'matplotlib', 'matplotlib.pyplot', 'sacrebleu', 'sentencepiece', 'tensorflow_text'} & "
        "set(sys.modules))\n"
        "import matplotlib.pyplot"  # can be imported afterwards
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []
