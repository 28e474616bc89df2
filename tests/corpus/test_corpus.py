"""The scoreboard on small real models, and the scoreboard itself; all models with all stages: `make corpus` (about an hour)."""

from pathlib import Path

HERE = Path(__file__).resolve().parent
MODELS = HERE.parents[2] / "shared" / "models"
