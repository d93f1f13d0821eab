"""A script that `%run` starts."""

import sys

print("daily", sys.argv[1:], __name__)
figures = [n * n for n in range(4)]
if __name__ == "__main__":
    print("sum", sum(figures))
