"""H7: which URLs and addresses may be asked."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from xpaste_ray.errors import RowError
from xpaste_ray.web.addresses import AddressRefused, check_host, is_public, parse_url, public_socket

PRIVATE = [
    "0.0.0.0", "10.1.2.3", "100.64.0.1", "127.0.0.1", "127.255.255.254", "169.254.169.254", "172.16.0.1",
    "172.31.255.255", "192.168.1.1", "192.0.0.170", "192.0.2.1", "198.18.0.1", "224.0.0.1", "240.0.0.1",
    "255.255.255.255",
    "::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "fd12::1", "fec0::1", "ff02::1", "2001:db8::1",
    "::ffff:127.0.0.1", "::ffff:a9fe:a9fe",        # mapped
    "::127.0.0.1",                                 # compatible
    "2002:7f00:1::", "2002:a9fe:a9fe::1",          # 6to4
    "2001:0:4136:e378:8000:63bf:3fff:fdd2",        # Teredo
    "64:ff9b::10.0.0.1", "64:ff9b::7f00:1",        # NAT64
    "64:ff9b:1::1",                                # NAT64 of a local network
    "4000::1", "5f00::1",                          # not given out
]  # fmt: skip
PUBLIC = ["8.8.8.8", "172.15.255.255", "172.32.0.0", "93.184.216.34", "2606:4700::1111", "2002:808:808::1",
          "::ffff:8.8.8.8", "64:ff9b::8.8.8.8"]  # fmt: skip


@pytest.mark.parametrize("address", PRIVATE)
def test_addresses_that_are_not_of_the_public_internet(address):
    assert not is_public(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses(address):
    assert is_public(address)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://127.0.0.1/a.jpg", "private_address"),
        ("http://169.254.169.254/latest/meta-data/", "private_address"),
        ("http://[::1]:8080/", "private_address"),
        ("http://[::ffff:127.0.0.1]/", "private_address"),
        ("http://localhost/", "private_address"),
        ("http://LOCALHOST./", "private_address"),
        ("http://printer.local/", "private_address"),
        ("http://metadata.google.internal/", "private_address"),
        ("http://2130706433/", "private_address"),  # 127.0.0.1, decimal
        ("http://0177.0.0.1/", "private_address"),  # octal
        ("http://0x7f.0.0.1/", "private_address"),
        ("http://0x7f000001/", "private_address"),
        ("http://127.1/", "private_address"),
        ("http://\uff11\uff12\uff17.0.0.1/", "private_address"),  # digits of full width
        ("http://134744072/", "bad_url"),  # 8.8.8.8: who reads it otherwise goes elsewhere
        ("http://1.2.3.4.5/", "bad_url"),
        ("http://300.1.1.1/", "bad_url"),
        ("file:///etc/passwd", "bad_url"),
        ("ftp://cats.example/a.jpg", "bad_url"),
        ("data:image/png;base64,AAAA", "bad_url"),
        ("http:///a.jpg", "bad_url"),
        ("//cats.example/a.jpg", "bad_url"),
        ("http://user:secret@cats.example/a.jpg", "bad_url"),
        ("http://user@cats.example/a.jpg", "bad_url"),
        ("http://cats.example:99999/", "bad_url"),
        ("http://[zz]/", "bad_url"),
        ("http://a..b/", "bad_url"),
        ("http://.com/", "bad_url"),
        ("http://cats example/", "bad_url"),
        ("http://%00.example/", "bad_url"),
        ("http://" + "a" * 64 + ".example/", "bad_url"),
        ("http://" + "a." * 127 + "example/", "bad_url"),
        ("http://cats.example/" + "a" * 5000, "bad_url"),
        ("", "bad_url"),
    ],
)
def test_urls_that_are_refused_before_any_name_is_looked_up(url, reason):
    with pytest.raises(RowError) as refused:
        check_host(parse_url(url).raw_host)
    assert refused.value.reason == reason


@pytest.mark.parametrize(
    "url", ["https://cats.example/a.jpg?b=c%20d", "http://8.8.8.8:8080/", "http://[2606:4700::1111]/",
            "http://katzen-\u00fc.example/", "http://3com.example/"]
)  # fmt: skip
def test_urls_that_may_be_asked(url):
    check_host(parse_url(url).raw_host)


def test_private_addresses_may_be_allowed_but_no_other_forms_of_them():
    check_host("127.0.0.1", allow_private=True)
    check_host("localhost", allow_private=True)
    with pytest.raises(RowError, match="unusual form"):
        check_host("2130706433", allow_private=True)


def test_socket_is_made_for_a_public_address_only():
    public_socket((2, 1, 6, "", ("8.8.8.8", 80))).close()
    with pytest.raises(AddressRefused):
        public_socket((2, 1, 6, "", ("127.0.0.1", 80)))


@given(
    st.one_of(
        st.text(), st.builds("{}://{}/{}".format, st.sampled_from(["http", "https"]), st.text(), st.text())
    )
)
@example("http://[")
@example("http://[::1%]/")
@example("http://1.2.3.4%/")
def test_any_text_is_a_url_that_may_be_asked_or_has_a_reason(text):
    try:
        check_host(parse_url(text).raw_host)
    except RowError as error:
        assert error.reason in ("bad_url", "private_address")
