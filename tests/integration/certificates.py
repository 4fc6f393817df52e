# SPDX-License-Identifier: MIT
"""An authority for tests, by the openssl program: certificates that are good, and that are not."""

import datetime
import shutil
import ssl
import subprocess
import unittest

OPENSSL = shutil.which("openssl")
CURL = shutil.which("curl")

needs_openssl = unittest.skipUnless(OPENSSL, "the openssl program is missing")
needs_curl = unittest.skipUnless(CURL, "curl is missing")

CONFIG = """
[req]
distinguished_name = name
x509_extensions = authority
[name]
[authority]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[ca]
default_ca = here
[here]
database = {folder}/index
new_certs_dir = {folder}
certificate = {folder}/ca.crt
private_key = {folder}/ca.key
rand_serial = yes
default_md = sha256
default_days = 30
default_crl_days = 30
policy = any
copy_extensions = copy
unique_subject = no
x509_extensions = leaf
[leaf]
basicConstraints = critical, CA:FALSE
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
[any]
commonName = supplied
"""


def openssl(*words, **options):
    return subprocess.run([OPENSSL, *map(str, words)], check=True, capture_output=True,
                          timeout=60, **options)


def stamp(days):
    """So many days from now, as openssl writes it."""
    when = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=days)
    return when.strftime("%Y%m%d%H%M%SZ")


class Pair:
    """A certificate and its key."""

    def __init__(self, folder, name):
        self.certificate = folder / f"{name}.crt"
        self.key = folder / f"{name}.key"

    def server(self):
        return ["--tls-cert", self.certificate, "--tls-key", self.key]

    def curl(self):
        return ["--cert", str(self.certificate), "--key", str(self.key)]

    def copy_to(self, other):
        """As programs that renew certificates do it: each file at once."""
        for ours, theirs in ((self.certificate, other.certificate), (self.key, other.key)):
            part = theirs.with_suffix(".part")
            shutil.copy(ours, part)
            part.chmod(0o600)
            part.rename(theirs)


class Authority:
    """Its own certificate is @file."""

    def __init__(self, folder, name="Test authority"):
        folder.mkdir()
        self.folder = folder
        self.file = folder / "ca.crt"
        self.config = folder / "config"
        self.config.write_text(CONFIG.format(folder=folder))
        (folder / "index").touch()
        openssl("req", "-config", self.config, "-x509", "-newkey", "ec", "-pkeyopt",
                "ec_paramgen_curve:P-256", "-nodes", "-keyout", folder / "ca.key", "-out",
                self.file, "-days", 30, "-subj", f"/CN={name}")

    def issue(self, name, names="DNS:localhost,IP:127.0.0.1", since=-1, until=30, kind="ec"):
        """A pair; @since, @until: days from now."""
        pair = Pair(self.folder, name)
        request = self.folder / f"{name}.csr"
        words = {"ec": ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"], "rsa": ["rsa:2048"],
                 "weak": ["rsa:1024"]}[kind]
        openssl("req", "-config", self.config, "-newkey", *words, "-nodes", "-keyout", pair.key,
                "-out", request, "-subj", f"/CN={name}", "-addext", f"subjectAltName={names}")
        pair.key.chmod(0o600)
        openssl("ca", "-config", self.config, "-batch", "-notext", "-in", request, "-out",
                pair.certificate, "-startdate", stamp(since), "-enddate", stamp(until))
        return pair

    def revoke(self, pair):
        openssl("ca", "-config", self.config, "-revoke", pair.certificate)

    def revoked(self, name="revoked"):
        """The file that lists them."""
        path = self.folder / f"{name}.pem"
        part = path.with_suffix(".part")
        openssl("ca", "-config", self.config, "-gencrl", "-out", part)
        part.rename(path)
        return path

    def context(self, pair=None):
        """For clients of Python's."""
        context = ssl.create_default_context(cafile=str(self.file))
        if pair:
            context.load_cert_chain(pair.certificate, pair.key)
        return context
