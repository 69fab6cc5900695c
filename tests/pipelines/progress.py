"""A progress that remembers what it was told."""


class Told:
    def __init__(self):
        self.lines = []

    def begin(self, totals, unit):
        pass

    def advance(self, stage, done, state=None):
        pass

    def say(self, text):
        self.lines.append(text)
