"""The rooms of `FakeKube`: storage, history, admission by kind. Tests import `testing.fake_kube`."""
