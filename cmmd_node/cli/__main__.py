"""``python -m cmmd_node.cli``, as the supervisor starts its roles."""

from cmmd_node.cli import main

if __name__ == "__main__":
    main()
