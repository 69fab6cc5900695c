"""A progress that says nothing."""

from xpaste_ray.pace import NOTHING_KNOWN


class Quiet:
    def begin(self, totals, unit):
        pass

    def advance(self, stage, done, state=NOTHING_KNOWN):
        pass

    def say(self, text):
        pass
