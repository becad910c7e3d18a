# SPDX-License-Identifier: Apache-2.0
"""From [provider.NAME] tables to sources, in the order of trust, or one sentence."""

import pytest
from fetch_fakes import NOW

from slurm_green.config.chains import CHAINS
from slurm_green.config.load import loads
from slurm_green.config.providers import PROVIDERS
from slurm_green.errors import ConfigError, SignalError
from slurm_green.fetch.build import build_sources
from slurm_green.fetch.builders import BUILDERS
from slurm_green.signals.provider import Historian
from slurm_green.signals.providers.neso import Neso
from slurm_green.signals.quantity import CARBON, PRICE, QUANTITIES

TWO = """
[signal]
carbon = ["region", "nation"]
[provider.nation]
type = "neso"
[provider.region]
type = "neso"
region = 12
[provider.unused]
type = "neso"
"""


def test_the_order_is_the_chains_not_the_files(client):
    """And a table that no chain names is not asked."""
    sources = build_sources(loads(TWO), CARBON.name, client)

    assert [one.name for one in sources] == ["region", "nation"]
    assert all(isinstance(one.provider, Neso) for one in sources)
    assert all(isinstance(one.provider, Historian) for one in sources)


def test_no_chain_no_sources(client):
    """A quantity that nobody asked for has nobody to ask."""
    assert build_sources(loads(TWO), PRICE.name, client) == []


def test_every_quantity_has_a_chain_of_its_own():
    """A new quantity without a key in [signal] would never be fetched."""
    assert set(CHAINS) == set(QUANTITIES)


def test_a_provider_in_the_chain_of_what_it_does_not_have_is_refused(client):
    """NESO knows carbon, and no prices."""
    config = loads('[signal]\nprice = ["uk"]\n[provider.uk]\ntype = "neso"')

    with pytest.raises(ConfigError) as caught:
        build_sources(config, PRICE.name, client)

    assert str(caught.value) == (
        "signal.price names 'uk', which only gives what signal.carbon wants"
    )


def test_settings_that_cannot_go_together_name_the_table(client):
    """A region by number and by postcode: the provider's sentence, and where to repair it."""
    config = loads(
        '[signal]\ncarbon = ["uk"]\n[provider.uk]\ntype = "neso"\nregion = 3\npostcode = "RG10"'
    )

    with pytest.raises(ConfigError, match=r"^provider\.uk: neso: give region_id or postcode"):
        build_sources(config, CARBON.name, client)


def test_settings_reach_the_provider(client, api):
    """The address and the region of the table are those that are asked."""
    url, script = api
    config = loads(
        f'[signal]\ncarbon = ["uk"]\n[provider.uk]\ntype = "neso"\nregion = 3\nurl = "{url}"'
    )
    (source,) = build_sources(config, CARBON.name, client)
    script.answer({}, status=500)

    with pytest.raises(SignalError, match="500"):
        source.provider.fetch(NOW)

    assert script.paths[0].endswith("/regionid/3")


KEYED = """
[signal]
carbon = ["em", "wt"]
price = ["em"]
[provider.em]
type = "electricity-maps"
zone = "DE"
currency = "EUR"
key_file = "{place}/key"
[provider.wt]
type = "watttime"
user = "ada"
region = "CAISO_NORTH"
password_file = "{place}/key"
"""


def test_one_account_serves_two_chains(client, tmp_path):
    """Electricity Maps has carbon and prices; WattTime has its password in a file too."""
    (tmp_path / "key").write_text("s3cr3t\n")
    (tmp_path / "key").chmod(0o600)
    config = loads(KEYED.format(place=tmp_path))

    carbon = build_sources(config, CARBON.name, client)
    price = build_sources(config, PRICE.name, client)

    assert [type(one.provider).__name__ for one in carbon] == ["ElectricityMaps", "WattTime"]
    assert [type(one.provider).__name__ for one in price] == ["ElectricityMapsPrice"]
    assert [one.name for one in price] == ["em"]


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (('zone = "DE"\n', ""), "provider.em.zone is not set, and none is assumed"),
        (('region = "CAISO_NORTH"', ""), "provider.wt.region is not set, and none is assumed"),
    ],
)
def test_what_a_provider_cannot_do_without_is_asked_for(client, tmp_path, spoil, words):
    """There is no default zone."""
    (tmp_path / "key").write_text("s3cr3t\n")
    (tmp_path / "key").chmod(0o600)
    config = loads(KEYED.replace(*spoil).format(place=tmp_path))

    with pytest.raises(ConfigError) as caught:
        build_sources(config, CARBON.name, client)

    assert words.format(place=tmp_path) in str(caught.value)


def test_every_type_in_the_configuration_can_be_built():
    """A type that `sgreen config` lists and nobody builds would be a crash at night."""
    assert set(PROVIDERS.values()) == set(BUILDERS)


# What each type needs at least, and what it then gives.
LEAST = {
    "neso": ("", True, True),
    "electricity-maps": ('zone = "DE"\nkey_file = "{place}/key"', True, True),
    "electricity-maps, direct": (
        'zone = "DE"\nkey_file = "{place}/key"\nemission_factors = "direct"',
        False,
        True,
    ),
    "watttime": ('user = "ada"\nregion = "X"\npassword_file = "{place}/key"', True, True),
    "entsoe": ('area = "FR"\nkey_file = "{place}/key"', True, True),
    "energy-charts": ('country = "de"', True, True),
    "gridstatus": ('operator = "caiso"\nkey_file = "{place}/key"', False, True),
    "http-json": ('region = "X"\nurl = "http://x/"', True, False),
    "http-json, past": ('region = "X"\nhistory_url = "http://x/"', False, True),
    "prometheus": ('region = "X"\nurl = "http://x"\nquery = "up"', False, True),
    "prometheus, both": (
        'region = "X"\nurl = "http://x"\nquery = "up"\nforecast_query = "up"',
        True,
        True,
    ),
    "file": ('region = "X"\npath = "{place}/x.csv"', True, True),
}


@pytest.fixture
def one(client, tmp_path):
    """Builds the source of one table of that type."""
    (tmp_path / "key").write_text("s3cr3t\n")
    (tmp_path / "key").chmod(0o600)

    def build(kind, settings, quantity=CARBON.name):
        text = f'[signal]\n{CHAINS[quantity]} = ["x"]\n[provider.x]\ntype = "{kind}"\n{settings}'
        (source,) = build_sources(loads(text.replace("{place}", str(tmp_path))), quantity, client)
        return source

    return build


@pytest.mark.parametrize("kind", LEAST)
def test_each_type_needs_only_what_cannot_be_assumed(one, kind):
    """And what it cannot give is not asked of it, so that it does not fail all day."""
    settings, forecasts, measures = LEAST[kind]

    source = one(kind.split(",")[0], settings)

    assert (source.name, source.forecasts, source.measures) == ("x", forecasts, measures)
    assert not forecasts or hasattr(source.provider, "fetch")
    assert not measures or hasattr(source.provider, "history")


def test_every_type_is_tried_here():
    """A new one wants a line above."""
    assert {kind.split(",")[0] for kind in LEAST} == set(PROVIDERS) - {"plugin"}


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("electricity-maps", 'zone = "DE"\nkey_file = "{place}/key"\ncurrency = "EUR"'),
        ("entsoe", 'area = "FR"\nkey_file = "{place}/key"'),
        ("energy-charts", 'bidding_zone = "FR"'),
        ("http-json", 'region = "X"\nurl = "http://x/"'),
        ("file", 'region = "X"\npath = "{place}/x.csv"'),
    ],
)
def test_prices_come_from_these_types(one, kind, settings):
    """The others have none, and say so."""
    assert one(kind, settings, PRICE.name).name == "x"


@pytest.mark.parametrize("kind", ["neso", "watttime", "gridstatus"])
def test_and_not_from_those(one, kind):
    """Before any key is read."""
    with pytest.raises(ConfigError, match=r"only gives what signal\.carbon wants"):
        one(kind, "", PRICE.name)


@pytest.mark.parametrize(
    ("kind", "settings", "words"),
    [
        ("electricity-maps", 'zone = "DE"\nkey_file = "{place}/key"\nhorizon_h = 7', "x: elec"),
        ("energy-charts", "", "provider.x.country is not set, and none is assumed"),
        ("entsoe", "", "provider.x.area is not set, and none is assumed"),
        ("gridstatus", 'key_file = "{place}/key"', "x.operator is not set, and none is assumed"),
        ("http-json", 'region = "X"', "provider.x: x: give url, history_url, or both"),
        ("http-json", 'url = "http://x/"', "provider.x.region is not set, and none is assumed"),
        ("http-json", 'region = "X"\nurl = "http://x/"\ntime_field = ""', "must be set"),
        ("http-json", 'region = "X"\nurl = "http://x/"\npath = "a["', "is no JMESPath"),
        ("http-json", 'region = "X"\nurl = "http://x/"\ntime_zone = "Mars"', "'Mars' is no zone"),
        ("prometheus", 'region = "X"\nurl = "http://x"', "provider.x.query is not set"),
        ("file", 'region = "X"', "provider.x.path is not set"),
        ("plugin", "", "provider.x.name is not set, and none is assumed"),
        ("plugin", 'name = "none"', "has an entry point 'none' in slurm_green.providers; there"),
    ],
)
def test_what_is_missing_or_wrong_is_said_with_the_table_it_is_in(one, kind, settings, words):
    """In one line that names the setting."""
    with pytest.raises(ConfigError) as caught:
        one(kind, settings)

    assert words in str(caught.value)
    assert str(caught.value).startswith("provider.x")
    assert "\n" not in str(caught.value)


class Entry:
    """An entry point of somebody else's package."""

    name = "roof"

    def __init__(self, made):
        self.made = made

    def load(self):
        """The function it names."""
        return self.made


def test_a_plug_in_gets_its_options_and_is_asked_what_it_has(one, monkeypatch):
    """Which sides it has is seen from its methods."""
    got = []

    class Roof:
        def history(self, start_utc, end_utc):
            """A past."""

    def made(*arguments):
        got.append(arguments)
        return Roof()

    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: [Entry(made)])
    source = one("plugin", 'name = "roof"\noptions = { panel = "3" }')

    assert (source.forecasts, source.measures) == (False, True)
    assert got[0][:2] == ({"panel": "3"}, CARBON.name)


@pytest.mark.parametrize("error", [KeyError("panel"), SignalError("no panel")])
def test_a_plug_in_that_cannot_be_made_is_a_sentence(one, monkeypatch, error):
    """Whatever it raises."""

    def made(*_):
        raise error

    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: [Entry(made)])
    with pytest.raises(ConfigError, match=r"^provider\.x: .*panel"):
        one("plugin", 'name = "roof"')


def test_a_key_that_would_not_be_sent_is_not_passed_over(one):
    """Somebody forgot key_header: the API would answer 401, and nobody would know why."""
    with pytest.raises(ConfigError, match="key_header"):
        one("http-json", 'region = "X"\nurl = "http://x/"\nkey_file = "{place}/key"')


@pytest.mark.parametrize(
    ("kind", "settings", "words"),
    [
        ("electricity-maps", 'zone = "DE"', "provider.x.key_file is not set"),
        (
            "electricity-maps",
            'zone = "DE"\nkey_file = "{place}/none"',
            "provider.x.key_file: {place}/none cannot be read: No such file or directory",
        ),
        ("watttime", 'user = "ada"\nregion = "X"', "provider.x.password_file is not set"),
        (
            "prometheus",
            'region = "X"\nurl = "http://x"\nquery = "up"\nuser = "ada"',
            "provider.x.key_file is not set",
        ),
    ],
)
def test_a_key_that_cannot_be_read_costs_its_provider_only(one, tmp_path, kind, settings, words):
    """Keys are rotated while the service runs: the source says what is wrong, and stays."""
    source = one(kind, settings)

    assert (source.name, source.provider) == ("x", None)
    assert source.problem.startswith(words.replace("{place}", str(tmp_path)))


def test_settings_tell_one_zone_from_another_and_not_how_it_is_reached(one):
    """What is kept of a source is set aside when the site means another place."""
    least = 'region = "X"\nurl = "http://x"\nquery = "up"'

    first = one("prometheus", least).settings

    assert one("prometheus", least.replace("http://x", "https://y")).settings == first
    assert one("prometheus", f'{least}\nuser = "ada"\nkey_file = "{{place}}/key"').settings == first
    for other in ('region = "Y"', 'query = "down"', 'basis = "marginal"', "factor = 1000"):
        key = other.split(" ")[0]
        rest = "\n".join(line for line in least.splitlines() if not line.startswith(key))
        assert one("prometheus", f"{rest}\n{other}").settings != first
    assert one("file", 'region = "X"\npath = "/x.csv"').settings != first


@pytest.mark.parametrize("key", ["url", "history_url"])
def test_another_address_of_a_json_api_may_be_another_zone(one, key):
    """There the zone is a part of the address."""
    least = f'region = "X"\n{key} = "http://x/v1?zone=DE"'

    assert one("http-json", least).settings != one("http-json", least.replace("DE", "FR")).settings
