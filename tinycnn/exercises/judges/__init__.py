"""The judges: each looks at one exercise and raises `Wrong`, or returns a remark."""
