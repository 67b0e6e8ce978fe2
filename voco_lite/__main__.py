"""`python -m voco_lite …`, which is also what `accelerate launch -m voco_lite …` starts."""

from voco_lite.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
