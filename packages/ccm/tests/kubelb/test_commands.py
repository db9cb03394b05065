"""The commands of `kubelb` against a fake management cluster, with a tenant's own rights."""

from __future__ import annotations

import asyncio
import json

import pytest
import yaml
from kubelb_program import TENANT_NS, Hub, invoke

from kubelb_ccm.kubelb.cli import main
from kubelb_common.kube import resources

GOOD = (("Accepted", "True", "Accepted", ""), ("ResolvedRefs", "True", "R", ""), ("Programmed", "True", "P", ""))
ADDRESS = {"ingress": [{"ip": "192.0.2.10"}]}
TCP = ("--protocol", "tcp", "--type", "LoadBalancer", "--endpoints", "192.0.2.7:30080")


def lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line]


async def made(hub: Hub, name: str = "web") -> None:
    await hub.good("lb", "create", name, *TCP, "--no-wait", "-q")


async def test_create_without_waiting_gives_the_object(hub: Hub):
    result = await hub.good("lb", "create", "web", *TCP, "--no-wait", "-o", "json")
    assert json.loads(result.stdout)["spec"] == hub.load_balancers()["web"]["spec"]
    assert lines(result.stderr) == ["web: created"]


async def test_create_shows_progress_until_it_is_reachable(hub: Hub):
    task = asyncio.create_task(hub.run("lb", "create", "web", *TCP))
    await hub.until(hub.load_balancers)
    hub.judge("web", *GOOD[:2], ("Programmed", "False", "NoReadyProxies", "No proxy is ready yet."))
    await hub.until(hub.kube.store.history.watches)
    await asyncio.sleep(0.1)  # the program has a moment to see this state; if it does not, the next is enough for it
    hub.judge("web", *GOOD)
    hub.judge("web", *GOOD, loadBalancer=ADDRESS)
    result = await task
    assert result.exit_code == 0, result.output
    assert "192.0.2.10" in result.stdout
    assert lines(result.stderr)[0] == "web: created"
    assert lines(result.stderr)[-1] == "web: ready: 192.0.2.10"
    assert any("waiting" in line for line in lines(result.stderr))


async def test_quiet_shows_no_progress(hub: Hub):
    task = asyncio.create_task(hub.run("-q", "lb", "create", "web", *TCP))
    await hub.until(hub.load_balancers)
    hub.judge("web", *GOOD, loadBalancer=ADDRESS)
    result = await task
    assert (result.exit_code, result.stderr) == (0, "")


async def test_a_refusal_ends_the_wait_and_is_explained(hub: Hub):
    task = asyncio.create_task(hub.run("lb", "create", "web", *TCP))
    await hub.until(hub.load_balancers)
    hub.judge("web", ("Accepted", "False", "AddressNotAllowed", "The address 192.0.2.7 has to be granted."))
    result = await task
    assert (result.exit_code, result.stdout) == (1, "")
    *_, table, error = lines(result.stderr)
    assert table.split()[:3] == ["Accepted", "False", "AddressNotAllowed"]
    assert error.startswith("Error: load balancer 'web' is refused: AddressNotAllowed: The address 192.0.2.7")


async def test_what_is_not_reachable_in_time_is_explained(hub: Hub):
    result = await hub.run("lb", "create", "web", "--endpoints", "192.0.2.7:30080", "--timeout", "1s")
    assert result.exit_code == 1
    error = lines(result.stderr)[-1]
    assert "not reachable in time" in error
    assert "--hostname" in error
    assert "web" in hub.load_balancers()


async def test_a_load_balancer_that_goes_while_it_is_waited_for(hub: Hub):
    task = asyncio.create_task(hub.run("lb", "create", "web", *TCP))
    await hub.until(hub.kube.store.history.watches)
    hub.kube.store.delete(resources.LOAD_BALANCERS, "web", TENANT_NS)
    result = await task
    assert result.exit_code == 1
    assert "deleted by somebody else" in lines(result.stderr)[-1]


async def test_a_name_that_is_taken(hub: Hub):
    await made(hub)
    result = await hub.run("lb", "create", "web", *TCP)
    assert result.exit_code == 1
    (line,) = lines(result.stderr)
    assert "'web' exists in tenant-a" in line
    assert "kubelb lb delete web" in line


async def test_list_and_its_other_name(hub: Hub):
    result = await hub.good("lb", "list")
    assert (result.stdout, lines(result.stderr)) == ("", ["There are no load balancers."])
    await made(hub, "web")
    await made(hub, "api")
    hub.judge("web", *GOOD, loadBalancer=ADDRESS)
    hub.judge("api", ("Accepted", "False", "PortNotAllowed", "no"))
    for word in ("lb", "loadbalancer"):
        head, api, web = lines((await hub.good(word, "list")).stdout)
        assert head.split()[:3] == ["NAME", "TYPE", "ADDRESS"]
        assert api.split()[:6] == ["api", "LoadBalancer", "-", "-", "8080/TCP", "PortNotAllowed"]
        assert web.split()[:6] == ["web", "LoadBalancer", "192.0.2.10", "-", "8080/TCP", "Ready"]
    listed = json.loads((await hub.good("lb", "list", "-o", "json")).stdout)
    assert [item["metadata"]["name"] for item in listed["items"]] == ["api", "web"]


async def test_get(hub: Hub):
    await hub.good("lb", "create", "web", "--endpoints", "[2001:db8::7]:30080,192.0.2.7:1", "--no-wait")
    hub.judge("web", ("Accepted", "False", "PortNotAllowed", "no\x1b[31m grant"))
    shown = (await hub.good("lb", "get", "web")).stdout
    assert "[2001:db8::7]:30080, 192.0.2.7:1" in shown
    assert "PortNotAllowed" in shown
    assert "\x1b" not in shown
    assert yaml.safe_load((await hub.good("lb", "get", "web", "-o", "yaml")).stdout)["kind"] == "LoadBalancer"
    result = await hub.run("lb", "get", "nothing")
    assert result.exit_code == 1
    assert lines(result.stderr) == [
        "Error: there is no load balancer 'nothing' in tenant-a; `kubelb lb list` shows those there are"
    ]


async def test_delete_asks(hub: Hub):
    await made(hub)
    result = await hub.run("lb", "delete", "web", input_="n\n")
    assert result.exit_code == 1
    assert "Delete load balancer 'web'?" in result.stderr
    assert "web" in hub.load_balancers()
    assert (await hub.run("lb", "delete", "web")).exit_code == 1  # nobody answers
    await hub.good("lb", "delete", "web", input_="y\n")
    assert hub.load_balancers() == {}


async def test_delete_waits_for_whoever_holds_it(hub: Hub):
    await made(hub)
    hold = {"metadata": {"finalizers": ["kubelb.k8c.io/cleanup"]}}
    hub.kube.store.patch(resources.LOAD_BALANCERS, "web", hold, TENANT_NS, subresource=None)
    task = asyncio.create_task(hub.run("lb", "delete", "-f", "web"))
    await hub.until(lambda: hub.load_balancers()["web"]["metadata"].get("deletionTimestamp"))
    await hub.until(hub.kube.store.history.watches)
    assert not task.done()
    hub.kube.store.patch(
        resources.LOAD_BALANCERS, "web", {"metadata": {"finalizers": None}}, TENANT_NS, subresource=None
    )
    result = await task
    assert result.exit_code == 0, result.output
    assert lines(result.stderr)[-1] == "web: deleted"


async def test_delete_warns_of_what_others_made(hub: Hub):
    labels = {"kubelb.k8c.io/origin-ns": "shop", "kubelb.k8c.io/origin-name": "web"}
    spec = {"endpoints": [{"addresses": [{"ip": "192.0.2.7"}], "ports": [{"port": 30080}]}]}
    meta = {"name": "uid-1", "namespace": TENANT_NS, "labels": labels}
    hub.kube.put(resources.LOAD_BALANCERS, {"metadata": meta, "spec": spec})
    result = await hub.good("lb", "delete", "uid-1", "--force")
    assert "was not made by kubelb; it comes from shop/web" in lines(result.stderr)[0]


async def test_status(hub: Hub):
    await made(hub, "web")
    await made(hub, "api")
    hub.judge("web", *GOOD, loadBalancer=ADDRESS)
    hub.judge("api", ("Accepted", "False", "PortNotAllowed", "no grant"), ("Programmed", "False", "NotAccepted", ""))
    told = {
        "version": {"gitVersion": "v0.1.0", "edition": "CE"},
        "phase": "Ready",
        "lastUpdated": "2026-01-01T00:00:00Z",
        "loadBalancer": {"disable": True},
    }
    hub.kube.put(
        resources.TENANT_STATES, {"metadata": {"name": "default", "namespace": TENANT_NS}, "spec": {}, "status": told}
    )
    shown = (await hub.good("status")).stdout
    for text in ("a (tenant-a)", "v0.1.0, edition CE", "Ready", "switched off", "1 yes, 1 no", "PortNotAllowed"):
        assert text in shown
    found = json.loads((await hub.good("status", "-o", "json")).stdout)
    assert found["loadBalancers"] == {
        "total": 2,
        "conditions": {
            "Accepted": {"False": 1, "True": 1},
            "ResolvedRefs": {"True": 1, "Unknown": 1},
            "Programmed": {"False": 1, "True": 1},
        },
    }
    assert [(item["name"], item["reason"]) for item in found["problems"]] == [("api", "PortNotAllowed")]


async def test_status_shows_limits_where_they_are_told(hub: Hub):
    from kubelb_ccm.kubelb.status import Found, _text, summary  # noqa: PLC0415 - no server keeps this field yet

    state = {"status": {"limits": {"loadBalancers": 5}}}
    assert "loadBalancers 5" in _text(summary(Found("https://hub", TENANT_NS, state, [], [])))


async def test_status_without_a_tenant_state(hub: Hub):
    shown = (await hub.good("status")).stdout
    assert "unknown, edition unknown" in shown


async def test_flags_may_come_after_the_command(hub: Hub):
    flags = ("--kubeconfig", str(hub.kubeconfig))
    result = await asyncio.to_thread(invoke, *flags, "-t", "b", "lb", "list", "--tenant", "tenant-a")
    assert result.exit_code == 0, result.output
    result = await asyncio.to_thread(invoke, "lb", "-t", "a", "list", *flags)
    assert result.exit_code == 0, result.output
    result = await asyncio.to_thread(invoke, "lb", "list", "-t", "a", KUBECONFIG=str(hub.kubeconfig), TENANT_NAME="b")
    assert result.exit_code == 0, result.output


async def test_another_tenants_namespace_is_one_line(hub: Hub):
    result = await asyncio.to_thread(invoke, "--kubeconfig", str(hub.kubeconfig), "-t", "b", "status")
    assert result.exit_code == 1
    (line,) = lines(result.stderr)
    assert "belong together" in line


async def test_a_credential_that_is_no_more(hub: Hub, tmp_path):
    text = json.loads(hub.kubeconfig.read_text())
    text["users"][0]["user"]["token"] = "revoked"
    old = tmp_path / "old"
    old.write_text(json.dumps(text))
    result = await asyncio.to_thread(invoke, "--kubeconfig", str(old), "-t", "a", "lb", "list")
    assert result.exit_code == 1
    (line,) = lines(result.stderr)
    assert "get a new kubeconfig" in line


async def test_a_server_that_is_away(hub: Hub):
    hub.kube.stop()
    result = await hub.run("status")
    assert result.exit_code == 1
    (line,) = (line for line in lines(result.stderr) if line.startswith("Error"))  # the server is in this process
    assert "127.0.0.1" in line
    hub.kube.start()


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("lb", "list"), "--kubeconfig is missing"),
        (("--kubeconfig", "{file}", "lb", "list"), "--tenant is missing"),
        (("--kubeconfig", "{file}", "-t", "A_b", "lb", "list"), "is not a Tenant's name"),
        (("--kubeconfig", "{file}", "-t", "a" * 60, "lb", "list"), "is not a Tenant's name"),
        (("--timeout", "soon", "version"), "no duration"),
        (("--timeout", "0s", "version"), "more than nothing"),
        (("lb", "create", "web"), "--endpoints"),
        (("lb", "create", "web", "--endpoints", "2001:db8::1"), "[2001:db8::1]:PORT"),
        (("lb", "create", "-t", "a", "Web", "--endpoints", "192.0.2.7:80"), "is no name"),
        (("lb", "create", "w" * 58, "--endpoints", "192.0.2.7:80"), "is no name"),
        (("lb", "create", "web", "--endpoints", "192.0.2.7:80", "--port", "0"), "--port"),
        (("lb", "create", "web", "--endpoints", "a:1", "--protocol", "udp", "--hostname", "a.b"), "--hostname"),
        (("lb", "create", "web", "--endpoints", "192.0.2.7:80", "--type", "NodePort"), "--type"),
        (("lb", "remove", "web"), "No such command"),
    ],
)
async def test_wrong_usage_is_exit_2(hub: Hub, args, said):
    filled = [arg.format(file=hub.kubeconfig) for arg in args]
    result = await asyncio.to_thread(invoke, *filled)
    assert result.exit_code == 2, result.output
    assert said in result.stderr
    assert "Traceback" not in result.output


def test_a_kubeconfig_that_is_not_there(tmp_path):
    result = invoke("--kubeconfig", str(tmp_path / "none"), "-t", "a", "lb", "list")
    assert result.exit_code == 1
    (line,) = lines(result.stderr)
    assert str(tmp_path / "none") in line


def test_version_and_completion_need_no_cluster():
    assert invoke("version").stdout.startswith("kubelb 0.")
    assert "version" in json.loads(invoke("version", "-o", "json").stdout)
    for shell in ("bash", "zsh", "fish"):
        assert "_KUBELB_COMPLETE" in invoke("completion", shell).stdout


def test_every_command_teaches_with_an_example():
    def commands(group, path):
        for name, command in group.commands.items():
            if name != "loadbalancer":
                yield (*path, name), command
                yield from commands(command, (*path, name)) if hasattr(command, "commands") else ()

    found = dict(commands(main, ()))
    assert len(found) >= 8
    for path in found.keys() - {("version",)}:
        text = invoke(*path, "--help").stdout
        assert f"kubelb {path[0]}" in text, path
