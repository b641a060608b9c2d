"""A real Kubernetes control plane on loopback: etcd, kube-apiserver and kube-controller-manager, without any node.

The controller manager belongs to it: without one there are no ServiceAccounts and no garbage collection, and a
namespace never ends.
"""
