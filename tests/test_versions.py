import keras
import sklearn

from skguard import show_versions


def test_show_versions_prints_the_versions_of_dependencies(capsys):
    show_versions()
    shown = capsys.readouterr().out
    assert f"scikit-learn: {sklearn.__version__}" in shown
    assert f"keras: {keras.__version__}" in shown
