"""Who may speak xDS: the manager's authority, its own certificate, one client certificate per fleet.

The authority is a Secret in the manager's namespace, made once. A fleet's certificate names tenant
and fleet (`delivery.identity`), lives 90 days and is renewed at two thirds of that. Envoys pick the new files up
from the mounted Secret, without a restart: the SDS files beside them say which directory to watch.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping
from datetime import timedelta

from kubelb_common import names, pki
from kubelb_common.kube import resources
from kubelb_common.kube.errors import AlreadyExists
from kubelb_common.kube.port import KubeClient, Object
from kubelb_common.objects import view
from kubelb_common.runtime.clock import Clock
from kubelb_common.runtime.controller import DONE, Controller, Result, Terminal
from kubelb_common.runtime.informer import Informer
from kubelb_common.runtime.keys import ObjectKey
from kubelb_manager.controllers import apply
from kubelb_manager.delivery.identity import certificate_uri, manager_uri
from kubelb_manager.delivery.server import ServerTls
from kubelb_manager.desired import envoy_fleet, meta

AUTHORITY_SECRET = "kubelb-xds-ca"  # noqa: S105 - the name of an object
_LIFETIME = timedelta(days=90)


class XdsIdentity:
    """Issues and renews; call `load` before anything else."""

    def __init__(self, client: KubeClient, *, namespace: str, clock: Clock) -> None:
        self._client = client
        self._writer = client
        self._namespace = namespace
        self._clock = clock
        self._authority: pki.KeyPair | None = None

    def write_through(self, writer: KubeClient) -> None:
        """Have fleets' certificates written through another client: the leader's. Any replica makes the authority."""
        self._writer = writer

    async def load(self) -> None:
        """Read the authority's Secret, or make it.

        Raises:
            Terminal: the Secret is there and holds no usable authority.
            KubeError: the API server refused, or did not answer.
        """
        live = await apply.read(self._client, resources.SECRETS, AUTHORITY_SECRET, self._namespace)
        if live is None:
            fresh = pki.create_ca("kubelb-xds", now=self._clock.now())
            try:
                live = await self._client.create(resources.SECRETS, self._secret(fresh), self._namespace)
            except AlreadyExists:
                live = await self._client.get(resources.SECRETS, AUTHORITY_SECRET, self._namespace)
        try:
            self._authority = pki.load_key_pair(_decoded(live, "tls.crt"), _decoded(live, "tls.key"))
        except pki.PkiError as error:
            where = f"Secret {self._namespace}/{AUTHORITY_SECRET}"
            raise Terminal(f"{where} holds no certificate authority ({error}); delete it to have one made") from error

    def controller(self, secrets: Informer) -> Controller:
        """Return the controller that keeps the authority's Secret."""
        key = ObjectKey(self._namespace, AUTHORITY_SECRET)
        controller = Controller("xds-authority", self._keep_authority, clock=self._clock)
        controller.watch(secrets, lambda secret: (key,) if ObjectKey.of(secret) == key else ())
        return controller

    async def _keep_authority(self, _key: ObjectKey) -> Result:
        """Put the authority's Secret back if somebody changed or deleted it.

        All certificates are of the authority that was loaded; one made anew at the next start would know none of them.
        """
        live = await apply.read(self._writer, resources.SECRETS, AUTHORITY_SECRET, self._namespace)
        wanted = self._secret(self.authority)
        if live is not None:
            data = view.get(live, "data", default={})
            if wanted["data"].items() <= data.items():  # ours whatever its labels say
                labels = {**view.labels(live), **meta.managed_labels()}
                if labels != view.labels(live):
                    live["metadata"]["labels"] = labels
                    await self._writer.replace(resources.SECRETS, live, self._namespace)
                return DONE
            wanted["data"] = {**data, **wanted["data"]}
        await apply.ensure(self._writer, resources.SECRETS, wanted, live)
        return DONE

    def _secret(self, authority: pki.KeyPair) -> Object:
        wanted = meta.obj("v1", "Secret", AUTHORITY_SECRET, self._namespace, labels=meta.managed_labels())
        return wanted | {"type": "kubernetes.io/tls", "data": _encoded(authority.cert_pem, authority.key_pem)}

    @property
    def authority(self) -> pki.KeyPair:
        """The authority, after `load`."""
        if self._authority is None:
            raise RuntimeError("load() comes first")
        return self._authority

    def server_tls(self) -> ServerTls:
        """Return a fresh certificate for the manager's own names, and whom to trust."""
        service = self.server_name()
        own = pki.issue(
            self.authority,
            "kubelb-manager",
            now=self._clock.now(),
            lifetime=_LIFETIME,
            usages=("server",),
            dns=(service, f"{service}.cluster.local", names.XDS_SERVICE, "localhost"),
        )
        return ServerTls(own.cert_pem, own.key_pem, self.authority.cert_pem)

    def peer_tls(self) -> ServerTls:
        """Return a fresh certificate that shows a manager to another one, and whom to trust."""
        own = pki.issue(
            self.authority,
            "kubelb-manager",
            now=self._clock.now(),
            lifetime=_LIFETIME,
            usages=("client",),
            uris=(manager_uri(),),
        )
        return ServerTls(own.cert_pem, own.key_pem, self.authority.cert_pem)

    def server_name(self) -> str:
        """Return the DNS name that the certificate of every manager's server carries."""
        return f"{names.XDS_SERVICE}.{self._namespace}.svc"

    def drain_token(self, namespace: str, fleet: str) -> str:
        """Return what only the pods of a fleet know, and we can always tell again: 32 hex digits."""
        text = f"drain/{namespace}/{fleet}".encode()
        return hmac.new(self.authority.key_pem, text, hashlib.sha256).hexdigest()[:32]

    async def ensure_client(
        self, owner: Object | None, namespace: str, fleet: str, *, files: Mapping[str, str] | None = None
    ) -> None:
        """Keep the Secret with a fleet's certificate; renew it when it is due or from another authority.

        `files` (name -> text) are to lie beside the certificate, see `bootstrap.sds_files`.
        """
        name = envoy_fleet.xds_secret_name(namespace, fleet)
        live = await apply.read(self._writer, resources.SECRETS, name, namespace)
        if live is not None and self._good(live, namespace, fleet):
            certificate, key = _decoded(live, "tls.crt"), _decoded(live, "tls.key")
            await self._keep(owner, namespace, fleet, pki.KeyPair(certificate, key), files, live)
            return
        fresh = pki.issue(
            self.authority,
            f"{namespace}/{fleet}"[:64],
            now=self._clock.now(),
            lifetime=_LIFETIME,
            usages=("client",),
            uris=(certificate_uri(namespace, fleet),),
        )
        await self._keep(owner, namespace, fleet, fresh, files, live)

    async def _keep(
        self,
        owner: Object | None,
        namespace: str,
        fleet: str,
        pair: pki.KeyPair,
        files: Mapping[str, str] | None,
        live: Object | None,
    ) -> None:
        wanted = envoy_fleet.xds_secret(
            owner,
            namespace,
            fleet,
            certificate=pair.cert_pem,
            key=pair.key_pem,
            ca=self.authority.cert_pem,
            files=files,
        )
        await apply.ensure(self._writer, resources.SECRETS, wanted, live)

    def _good(self, live: Object, namespace: str, fleet: str) -> bool:
        try:
            certificate = _decoded(live, "tls.crt")
            pki.load_key_pair(certificate, _decoded(live, "tls.key"))
            return (
                _decoded(live, "ca.crt") == self.authority.cert_pem
                and pki.issued_by(certificate, self.authority.cert_pem)
                and pki.uri_sans(certificate) == (certificate_uri(namespace, fleet),)
                and not pki.needs_renewal(certificate, self._clock.now())
            )
        except pki.PkiError:
            return False


def _encoded(certificate: bytes, key: bytes) -> dict[str, str]:
    files = {"tls.crt": certificate, "tls.key": key}
    return {name: base64.b64encode(content).decode() for name, content in files.items()}


def _decoded(secret: Object, key: str) -> bytes:
    try:
        return base64.b64decode(view.text(secret, "data", key), validate=True)
    except ValueError as error:
        raise pki.PkiError(f"{key} is not base64") from error
