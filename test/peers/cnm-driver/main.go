// A remote driver of libnetwork on docker's own helpers: NetworkDriver with bridges and veth pairs, and IpamDriver
// on a socket of its own.
//
//	cnm-driver --name NAME --sockets DIR --state FILE [--log FILE] [--delay MILLISECONDS]
//
// It listens on DIR/NAME.sock and DIR/NAME-ipam.sock, is strict (it refuses to delete a missing object and to create
// an existing one), keeps its state in FILE across restarts, and writes one line for each verb to the log. With the
// network option `link=none` it names no link at Join, with `fail=VERB` it refuses a verb.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/docker/go-plugins-helpers/ipam"
	"github.com/docker/go-plugins-helpers/network"
)

type endpoint struct {
	Address, AddressIPv6, MacAddress, SandboxKey string
	Joined                                       bool
	Ports                                        []port
}
type port struct{ Proto, Port, HostPort int }
type netState struct {
	Bridge, Gateway, Gateway6 string
	Options                   map[string]string
	Endpoints                 map[string]*endpoint
	Given                     int
}
type pool struct {
	Block string
	Taken map[string]bool
	Uses  int
}
type state struct {
	Networks map[string]*netState
	Pools    map[string]*pool
}

type driver struct {
	mutex     sync.Mutex
	state     state
	file      string
	out       io.Writer
	delay     time.Duration
	listeners map[string][]net.Listener
}

// act runs one verb: one at a time, logged, and writes the state when it is done.
func (d *driver) act(verb, on string, body func() error) error {
	time.Sleep(d.delay)
	d.mutex.Lock()
	defer d.mutex.Unlock()
	err := body()
	text, _ := json.Marshal(d.state)
	if werr := os.WriteFile(d.file+".new", text, 0o600); werr == nil {
		_ = os.Rename(d.file+".new", d.file)
	}
	if err != nil {
		fmt.Fprintf(d.out, "%s %s refused: %v\n", verb, on, err)
	} else {
		fmt.Fprintf(d.out, "%s %s\n", verb, on)
	}
	return err
}

func ip(args ...string) error {
	out, err := exec.Command("ip", args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("ip %s: %s", strings.Join(args, " "), strings.TrimSpace(string(out)))
	}
	return nil
}

func short(id string) string {
	if len(id) > 10 {
		return id[:10]
	}
	return id
}

func (d *driver) network(id string) (*netState, error) {
	if found := d.state.Networks[id]; found != nil {
		return found, nil
	}
	return nil, fmt.Errorf("no network %s", short(id))
}

func (d *driver) endpoint(networkID, id string) (*netState, *endpoint, error) {
	of, err := d.network(networkID)
	if err != nil {
		return nil, nil, err
	}
	if found := of.Endpoints[id]; found != nil {
		return of, found, nil
	}
	return nil, nil, fmt.Errorf("no endpoint %s", short(id))
}

func (n *netState) fails(verb string) error {
	if n.Options["fail"] == verb {
		return errors.New("told to refuse " + verb)
	}
	return nil
}

func (d *driver) GetCapabilities() (*network.CapabilitiesResponse, error) {
	return &network.CapabilitiesResponse{Scope: network.LocalScope, ConnectivityScope: network.LocalScope}, nil
}
func (d *driver) AllocateNetwork(*network.AllocateNetworkRequest) (*network.AllocateNetworkResponse, error) {
	return nil, errors.New("the scope is local")
}
func (d *driver) FreeNetwork(*network.FreeNetworkRequest) error {
	return errors.New("the scope is local")
}
func (d *driver) DiscoverNew(*network.DiscoveryNotification) error    { return nil }
func (d *driver) DiscoverDelete(*network.DiscoveryNotification) error { return nil }

func (d *driver) CreateNetwork(r *network.CreateNetworkRequest) error {
	return d.act("CreateNetwork", short(r.NetworkID), func() error {
		if d.state.Networks[r.NetworkID] != nil {
			return fmt.Errorf("network %s is there", short(r.NetworkID))
		}
		n := &netState{Bridge: "cb" + short(r.NetworkID), Options: map[string]string{}, Endpoints: map[string]*endpoint{}}
		if generic, ok := r.Options["com.docker.network.generic"].(map[string]interface{}); ok {
			for key, value := range generic {
				n.Options[key] = fmt.Sprint(value)
			}
		}
		if err := n.fails("CreateNetwork"); err != nil {
			return err
		}
		for _, data := range r.IPv4Data {
			if data.Gateway != "" && data.Pool != "0.0.0.0/0" {
				n.Gateway = data.Gateway
			}
		}
		for _, data := range r.IPv6Data {
			n.Gateway6 = data.Gateway
		}
		if len(r.IPv4Data) == 1 && r.IPv4Data[0].Pool == "0.0.0.0/0" {
			n.Gateway, n.Given = "10.231.0.1/24", 1
		}
		if err := ip("link", "add", n.Bridge, "type", "bridge"); err != nil {
			return err
		}
		for _, address := range []string{n.Gateway, n.Gateway6} {
			if address == "" {
				continue
			}
			args := []string{"address", "add", address, "dev", n.Bridge}
			if strings.Contains(address, ":") {
				args = append(args, "nodad")
			}
			if err := ip(args...); err != nil {
				_ = ip("link", "del", n.Bridge)
				return err
			}
		}
		if err := ip("link", "set", n.Bridge, "up"); err != nil {
			return err
		}
		d.state.Networks[r.NetworkID] = n
		return nil
	})
}

func (d *driver) DeleteNetwork(r *network.DeleteNetworkRequest) error {
	return d.act("DeleteNetwork", short(r.NetworkID), func() error {
		n, err := d.network(r.NetworkID)
		if err != nil {
			return err
		}
		if len(n.Endpoints) > 0 {
			return fmt.Errorf("network %s has %d endpoints", short(r.NetworkID), len(n.Endpoints))
		}
		delete(d.state.Networks, r.NetworkID)
		return ip("link", "del", n.Bridge)
	})
}

func (d *driver) CreateEndpoint(r *network.CreateEndpointRequest) (*network.CreateEndpointResponse, error) {
	answer := &network.CreateEndpointResponse{Interface: &network.EndpointInterface{}}
	err := d.act("CreateEndpoint", short(r.EndpointID), func() error {
		n, err := d.network(r.NetworkID)
		if err != nil {
			return err
		}
		if err := n.fails("CreateEndpoint"); err != nil {
			return err
		}
		if n.Endpoints[r.EndpointID] != nil {
			return fmt.Errorf("endpoint %s is there", short(r.EndpointID))
		}
		own := &endpoint{}
		if r.Interface != nil {
			own.Address, own.AddressIPv6, own.MacAddress = r.Interface.Address, r.Interface.AddressIPv6, r.Interface.MacAddress
		}
		if own.Address == "" && n.Given > 0 {
			n.Given++
			own.Address = fmt.Sprintf("10.231.0.%d/24", n.Given)
			answer.Interface.Address = own.Address
		}
		if own.MacAddress == "" && own.Address != "" {
			address, _, err := net.ParseCIDR(own.Address)
			if err != nil {
				return err
			}
			four := address.To4()
			own.MacAddress = fmt.Sprintf("02:42:%02x:%02x:%02x:%02x", four[0], four[1], four[2], four[3])
			answer.Interface.MacAddress = own.MacAddress
		}
		n.Endpoints[r.EndpointID] = own
		return nil
	})
	return answer, err
}

func (d *driver) DeleteEndpoint(r *network.DeleteEndpointRequest) error {
	return d.act("DeleteEndpoint", short(r.EndpointID), func() error {
		n, own, err := d.endpoint(r.NetworkID, r.EndpointID)
		if err != nil {
			return err
		}
		if err := n.fails("DeleteEndpoint"); err != nil {
			return err
		}
		if own.Joined {
			return fmt.Errorf("endpoint %s is joined", short(r.EndpointID))
		}
		// The pair ends with either end, and is gone when its other end went with a namespace.
		_ = ip("link", "del", "ch"+short(r.EndpointID))
		delete(n.Endpoints, r.EndpointID)
		return nil
	})
}

func (d *driver) EndpointInfo(r *network.InfoRequest) (*network.InfoResponse, error) {
	answer := &network.InfoResponse{Value: map[string]string{}}
	err := d.act("EndpointOperInfo", short(r.EndpointID), func() error {
		_, own, err := d.endpoint(r.NetworkID, r.EndpointID)
		if err == nil {
			answer.Value["address"] = own.Address
		}
		return err
	})
	return answer, err
}

func (d *driver) Join(r *network.JoinRequest) (*network.JoinResponse, error) {
	answer := &network.JoinResponse{}
	err := d.act("Join", short(r.EndpointID), func() error {
		n, own, err := d.endpoint(r.NetworkID, r.EndpointID)
		if err != nil {
			return err
		}
		if err := n.fails("Join"); err != nil {
			return err
		}
		if own.Joined {
			return fmt.Errorf("endpoint %s is joined", short(r.EndpointID))
		}
		own.Joined, own.SandboxKey = true, r.SandboxKey
		if n.Options["link"] == "none" {
			return nil
		}
		host, pod := "ch"+short(r.EndpointID), "cp"+short(r.EndpointID)
		if err := ip("link", "add", host, "type", "veth", "peer", "name", pod); err != nil {
			return err
		}
		if err := ip("link", "set", host, "master", n.Bridge, "up"); err != nil {
			return err
		}
		answer.InterfaceName = network.InterfaceName{SrcName: pod, DstPrefix: "eth"}
		answer.Gateway, _, _ = strings.Cut(n.Gateway, "/")
		answer.GatewayIPv6, _, _ = strings.Cut(n.Gateway6, "/")
		if route := n.Options["route"]; route != "" {
			answer.StaticRoutes = append(answer.StaticRoutes, &network.StaticRoute{Destination: route, RouteType: 1})
		}
		return nil
	})
	return answer, err
}

func (d *driver) Leave(r *network.LeaveRequest) error {
	return d.act("Leave", short(r.EndpointID), func() error {
		_, own, err := d.endpoint(r.NetworkID, r.EndpointID)
		if err != nil {
			return err
		}
		if !own.Joined {
			return fmt.Errorf("endpoint %s is not joined", short(r.EndpointID))
		}
		own.Joined = false
		return nil
	})
}

// ProgramExternalConnectivity forwards host ports by listening on them.
func (d *driver) ProgramExternalConnectivity(r *network.ProgramExternalConnectivityRequest) error {
	return d.act("ProgramExternalConnectivity", short(r.EndpointID), func() error {
		n, own, err := d.endpoint(r.NetworkID, r.EndpointID)
		if err != nil {
			return err
		}
		if err := n.fails("ProgramExternalConnectivity"); err != nil {
			return err
		}
		text, _ := json.Marshal(r.Options["com.docker.network.portmap"])
		if err := json.Unmarshal(text, &own.Ports); err != nil {
			return err
		}
		return d.listen(r.EndpointID, own)
	})
}

func (d *driver) listen(id string, own *endpoint) error {
	address, _, _ := strings.Cut(own.Address, "/")
	for _, each := range own.Ports {
		if each.Proto != 6 {
			continue
		}
		listener, err := net.Listen("tcp", fmt.Sprintf(":%d", each.HostPort))
		if err != nil {
			return err
		}
		d.listeners[id] = append(d.listeners[id], listener)
		go forward(listener, fmt.Sprintf("%s:%d", address, each.Port))
	}
	return nil
}

func forward(listener net.Listener, to string) {
	for {
		from, err := listener.Accept()
		if err != nil {
			return
		}
		go func() {
			defer from.Close()
			target, err := net.DialTimeout("tcp", to, 3*time.Second)
			if err != nil {
				return
			}
			defer target.Close()
			go func() { _, _ = io.Copy(target, from) }()
			_, _ = io.Copy(from, target)
		}()
	}
}

func (d *driver) RevokeExternalConnectivity(r *network.RevokeExternalConnectivityRequest) error {
	return d.act("RevokeExternalConnectivity", short(r.EndpointID), func() error {
		_, own, err := d.endpoint(r.NetworkID, r.EndpointID)
		if err != nil {
			return err
		}
		for _, listener := range d.listeners[r.EndpointID] {
			_ = listener.Close()
		}
		delete(d.listeners, r.EndpointID)
		own.Ports = nil
		return nil
	})
}

// The IPAM driver: blocks and addresses, one after another.
type addresses struct{ *driver }

func (a addresses) GetCapabilities() (*ipam.CapabilitiesResponse, error) {
	return &ipam.CapabilitiesResponse{RequiresMACAddress: true}, nil
}
func (a addresses) GetDefaultAddressSpaces() (*ipam.AddressSpacesResponse, error) {
	return &ipam.AddressSpacesResponse{LocalDefaultAddressSpace: "cnm-local", GlobalDefaultAddressSpace: "cnm-global"}, nil
}

func (a addresses) RequestPool(r *ipam.RequestPoolRequest) (*ipam.RequestPoolResponse, error) {
	answer := &ipam.RequestPoolResponse{Data: map[string]string{}}
	err := a.act("RequestPool", r.Pool, func() error {
		if r.AddressSpace != "cnm-local" {
			return fmt.Errorf("no address space %q", r.AddressSpace)
		}
		block := r.Pool
		for at := 0; block == ""; at++ {
			if candidate := fmt.Sprintf("10.230.%d.0/24", at); a.state.Pools["pool/"+candidate] == nil {
				block = candidate
			}
		}
		if _, _, err := net.ParseCIDR(block); err != nil {
			return err
		}
		answer.PoolID, answer.Pool = "pool/"+block, block
		if a.state.Pools[answer.PoolID] == nil {
			a.state.Pools[answer.PoolID] = &pool{Block: block, Taken: map[string]bool{}}
		}
		return nil
	})
	return answer, err
}

func (a addresses) ReleasePool(r *ipam.ReleasePoolRequest) error {
	return a.act("ReleasePool", r.PoolID, func() error {
		if a.state.Pools[r.PoolID] == nil {
			return fmt.Errorf("no pool %q", r.PoolID)
		}
		delete(a.state.Pools, r.PoolID)
		return nil
	})
}

func (a addresses) RequestAddress(r *ipam.RequestAddressRequest) (*ipam.RequestAddressResponse, error) {
	answer := &ipam.RequestAddressResponse{Data: map[string]string{}}
	err := a.act("RequestAddress", r.PoolID+" "+r.Address, func() error {
		of := a.state.Pools[r.PoolID]
		if of == nil {
			return fmt.Errorf("no pool %q", r.PoolID)
		}
		if r.Options["RequestAddressType"] == "" && r.Options["com.docker.network.endpoint.macaddress"] == "" {
			return errors.New("no MAC address was named")
		}
		first, block, err := net.ParseCIDR(of.Block)
		if err != nil {
			return err
		}
		length, _ := block.Mask.Size()
		next := first.Mask(block.Mask)
		if r.Address != "" {
			next = net.ParseIP(r.Address)
		} else {
			for step(next); of.Taken[next.String()]; {
				step(next)
			}
		}
		if next == nil || !block.Contains(next) || of.Taken[next.String()] {
			return fmt.Errorf("%s is not available", r.Address)
		}
		of.Taken[next.String()] = true
		answer.Address = fmt.Sprintf("%s/%d", next, length)
		return nil
	})
	return answer, err
}

func step(address net.IP) {
	for at := len(address) - 1; at >= 0; at-- {
		address[at]++
		if address[at] != 0 {
			return
		}
	}
}

func (a addresses) ReleaseAddress(r *ipam.ReleaseAddressRequest) error {
	return a.act("ReleaseAddress", r.PoolID+" "+r.Address, func() error {
		of := a.state.Pools[r.PoolID]
		if of == nil || !of.Taken[r.Address] {
			return fmt.Errorf("%s of %q is not taken", r.Address, r.PoolID)
		}
		delete(of.Taken, r.Address)
		return nil
	})
}

func main() {
	name := flag.String("name", "", "of the driver")
	sockets := flag.String("sockets", "", "folder of the sockets")
	file := flag.String("state", "", "file of the state")
	logFile := flag.String("log", os.DevNull, "file with a line for each verb")
	delay := flag.Int("delay", 0, "milliseconds before each verb")
	flag.Parse()
	out, err := os.OpenFile(*logFile, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		log.Fatal(err)
	}
	d := &driver{file: *file, out: out, delay: time.Duration(*delay) * time.Millisecond, listeners: map[string][]net.Listener{}}
	d.state = state{Networks: map[string]*netState{}, Pools: map[string]*pool{}}
	if text, err := os.ReadFile(*file); err == nil {
		if err := json.Unmarshal(text, &d.state); err != nil {
			log.Fatal(err)
		}
	}
	for _, n := range d.state.Networks {
		for id, own := range n.Endpoints {
			_ = d.listen(id, own)
		}
	}
	serve := func(socket string, handler interface{ Serve(net.Listener) error }) {
		path := filepath.Join(*sockets, socket)
		_ = os.Remove(path)
		listener, err := net.Listen("unix", path)
		if err != nil {
			log.Fatal(err)
		}
		log.Fatal(handler.Serve(listener))
	}
	go serve(*name+"-ipam.sock", ipam.NewHandler(addresses{d}))
	serve(*name+".sock", network.NewHandler(d))
}
