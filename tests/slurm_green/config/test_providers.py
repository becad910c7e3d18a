# SPDX-License-Identifier: Apache-2.0
"""[provider.NAME] tables: the type says which settings there are, and a slip says how to repair."""

from pathlib import Path

import pytest

from slurm_green.config.load import loads
from slurm_green.config.providers import (
    PROVIDERS,
    ElectricityMapsSettings,
    HttpJsonSettings,
    NesoSettings,
    ProviderSettings,
)
from slurm_green.config.render import example, reference, shown, toml
from slurm_green.config.settings import Config
from slurm_green.config.tree import NAMED, SECTIONS
from slurm_green.errors import ConfigError

SITE = """\
[signal]
carbon = ["em", "uk"]
price = ["em"]

[provider.em]
type = "electricity-maps"
zone = "DE"
key_file = "/etc/slurm-green/em.key"

[provider.uk]
type = "neso"
region = 12
"""


def test_each_table_has_the_settings_of_its_type():
    """In the order of the file, with the defaults of that type."""
    config = loads(SITE)

    assert config.provider == {
        "em": ElectricityMapsSettings(zone="DE", key_file=Path("/etc/slurm-green/em.key")),
        "uk": NesoSettings(region=12),
    }
    assert (config.signal.carbon, config.signal.price) == (("em", "uk"), ("em",))


def test_there_is_no_provider_by_default():
    """Nobody gets another region's carbon by accident."""
    config = Config()

    assert (config.provider, config.signal.carbon) == ({}, ())


def test_two_tables_may_be_of_one_type():
    """The region first, the nation where it fails."""
    config = loads('[provider.a]\ntype = "neso"\nregion = 1\n[provider.b]\ntype = "neso"')

    assert config.provider == {"a": NesoSettings(region=1), "b": NesoSettings()}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[provider.uk]\nregion = 12", "conf:1: provider.uk has no type; it is one of: neso, "),
        ("[provider.uk]", "conf:1: provider.uk has no type"),
        ("\n[provider.uk]\ntype = 'nesso'", "conf:3: provider.uk.type = 'nesso' is not known; "),
        ("[provider.uk]\ntype = 5", "provider.uk.type = 5 is not known; one of: neso, "),
        ("[provider.uk]\ntype = ['neso']", "provider.uk.type = ['neso'] is not known; one of: "),
        ("[provider.uk]\ntype = ''", "provider.uk.type = '' is not known; one of: neso, "),
        (
            "[provider.uk]\ntype = 'neso'\nregoin = 12",
            "conf:3: provider.uk.regoin is an unknown key in [provider.uk]; did you mean 'region'?",
        ),
        (
            "[provider.uk]\ntype = 'neso'\nkey_file = '/k'",
            "provider.uk.key_file is an unknown key in [provider.uk]; known: postcode, region, url",
        ),
        (
            "[provider.em]\ntype = 'electricity-maps'\npostcode = 'RG10'",
            "provider.em.postcode is an unknown key in [provider.em]; ",
        ),
        ("[provider.uk]\ntype = 'neso'\nregion = 18", "conf:3: provider.uk.region = 18 is out of"),
        ("[provider.uk]\ntype = 'neso'\nurl = 'api'", "provider.uk.url = 'api' is not allowed"),
        ("[provider.uk.more]\ntype = 'neso'", "provider.uk has no type"),
        ("provider = 3", "conf:1: provider is not a table; write [provider.NAME]"),
        ("[provider]\nuk = 'neso'", "provider.uk stands outside a provider; write [provider.NAME]"),
        ("[providers.uk]\ntype = 'neso'", "providers is an unknown section; did you mean 'prov"),
        (
            "[signal]\ncarbon = ['uk']",
            "conf:2: signal.carbon names 'uk', but there is no [provider.uk]; there are: none yet",
        ),
        (
            "[signal]\nprice = ['em']\n[provider.uk]\ntype = 'neso'",
            "conf:2: signal.price names 'em', but there is no [provider.em]; there are: uk",
        ),
        ("[signal]\nrenewable = ['roof']", "signal.renewable names 'roof'"),
        ("[signal]\nbase_power = ['meter']", "signal.base_power names 'meter'"),
        ("[signal]\ncarbon = 'uk'", "signal.carbon = 'uk' is not a list of texts"),
        ("[signal]\ncarbon = ['']", "is not a list of texts"),
        ("[signal]\nproviders = ['neso']", "signal.providers is an unknown key in [signal]"),
        ("[signal.neso]\nregion = 12", "signal.neso is an unknown key in [signal]"),
        ("[signal]\nhorizon = '1h'", "signal.horizon = '1h' is out of range"),
        ("[signal]\nforecast = '5d'", "signal.forecast = '5d' is out of range"),
    ],
)
def test_what_is_wrong_is_named_with_its_line_and_what_is_allowed(text, words):
    """One sentence is enough to repair the file."""
    with pytest.raises(ConfigError) as caught:
        loads(text, Path("conf"))

    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", PROVIDERS)
def test_a_table_with_nothing_but_its_type_is_that_type(kind):
    """Every setting has a default, if only `not set`; what must be given, sgreen fetch asks for."""
    config = loads(f'[provider.x]\ntype = "{kind}"')

    assert config.provider == {"x": PROVIDERS[kind]()}


@pytest.mark.parametrize("kind", PROVIDERS)
def test_a_key_that_only_another_type_has_is_refused(kind):
    """A setting that nobody reads would be silently without effect."""
    own = {one.key for one in NAMED["provider"][kind].settings}
    others = {
        one.key: one
        for section in NAMED["provider"].values()
        for one in section.settings
        if one.key not in own
    }
    assert others
    for key, one in others.items():
        value = one.kind.write(one.default) or '"x"'
        with pytest.raises(ConfigError, match=rf"provider\.x\.{key} is an unknown key"):
            loads(f'[provider.x]\ntype = "{kind}"\n{key} = {value}')


def test_each_type_is_known_by_its_own_class():
    """What is shown and built goes by the class, so two types of one class could not be told."""
    assert len(set(PROVIDERS.values())) == len(PROVIDERS)
    assert all(issubclass(one, ProviderSettings) for one in PROVIDERS.values())


@pytest.mark.parametrize("kind", PROVIDERS)
def test_no_setting_is_a_secret(kind):
    """A key in this file would be printed by `sgreen config show`: only files are named."""
    keys = {one.key for one in NAMED["provider"][kind].settings}

    assert keys & {"key", "token", "password", "secret", "auth_token", "api_key"} == set()


def test_what_is_shown_reads_back_as_the_same():
    """`sgreen config show` can be used as a file, with every type in it."""
    tables = "\n".join(f'[provider.{kind}-1]\ntype = "{kind}"' for kind in PROVIDERS)
    config = loads(
        f"""{SITE}
        {tables}
        [provider.odd]
        type = "http-json"
        step = "15m"
        factor = 0.001
        columns = true
        key_prefix = "Bearer "
        path = "data[?zone=='DE'].{{t: time, v: \\"value\\"}}"
        [provider.mine]
        type = "plugin"
        name = "roof"
        options = {{ panel = "3", note = "a \\"b\\" = c" }}
        """
    )

    again = loads(toml(config))

    assert again.provider == config.provider
    assert again.signal == config.signal
    assert config.provider["odd"] == HttpJsonSettings(
        step_s=900.0,
        factor=0.001,
        columns=True,
        key_prefix="Bearer ",
        path="data[?zone=='DE'].{t: time, v: \"value\"}",
    )


def test_the_tables_are_shown_with_their_type_first_and_their_lines():
    """Whoever reads it sees what was set and where."""
    config = loads(SITE, Path("/etc/x.toml"))

    lines = toml(config, origin=True).splitlines()
    origins = {one.name: one.origin for one in shown(config)}

    at = lines.index("[provider.em]")
    assert lines[at + 1] == 'type = "electricity-maps"  # /etc/x.toml:6'
    assert origins["provider.uk.region"] == "/etc/x.toml:12"
    assert origins["provider.uk.postcode"] == "default"
    assert [one.name for one in shown(config)].count("provider.uk.type") == 1


def test_every_type_is_in_the_example_and_in_the_reference():
    """With its type spelled out, or nobody would find it."""
    for kind in PROVIDERS:
        assert f'#[provider.{kind}]\n#type = "{kind}"' in example()
        assert f"## [provider.{kind}]" in reference()
        assert f'`[provider.NAME]` with `type = "{kind}"`.' in reference()


def test_a_type_of_the_example_read_without_its_comment_signs_is_that_type():
    """Copying a block and filling in what it lacks is all an admin does."""
    text = "\n".join(line.removeprefix("#") for line in example().splitlines())
    blocks = text.split("\n[")

    for kind in PROVIDERS:
        (block,) = [one for one in blocks if one.startswith(f"provider.{kind}]")]
        settings = [one for one in block.splitlines()[1:] if one and not one.startswith(" ")]
        known = [one for one in settings if not one.endswith("= ")]
        config = loads(f"[provider.{kind}]\n" + "\n".join(known))
        assert config.provider == {kind: PROVIDERS[kind]()}


@pytest.mark.parametrize("name", ["a.b", "../x", "a/b", "*", ""])
def test_a_name_that_cannot_be_part_of_a_file_name_is_refused(name):
    """The store names its files after the source."""
    with pytest.raises(ConfigError, match="provider"):
        loads(f'[provider."{name}"]\ntype = "neso"')


@pytest.mark.parametrize("key", ["carbon", "price", "read"])
def test_a_chain_that_names_one_twice_is_refused(key):
    """It would be asked twice, and its metrics would be series that come twice."""
    name = "file" if key == "read" else "uk"
    with pytest.raises(ConfigError, match="twice"):
        loads(f'[signal]\n{key} = ["{name}", "{name}"]\n[provider.uk]\ntype = "neso"')


def test_only_sections_that_have_variants_have_types():
    """Partitions and QOS have none, and the key `type` is unknown there."""
    assert {one.table for one in SECTIONS if one.variant} == {"provider"}
    with pytest.raises(ConfigError, match=r"partition\.a\.type is an unknown key"):
        loads('[partition.a]\ntype = "neso"')
