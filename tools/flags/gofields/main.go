// Copyright: ninepaths contributors
// SPDX-License-Identifier: GPL-3.0-or-later

// Prints every field of KubeletConfiguration and KubeProxyConfiguration with its type and default as JSON.
// It is built against one Kubernetes version at a time: see fields.py.
package main

import (
	"encoding/json"
	"log"
	"os"
	"reflect"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kubeproxy "k8s.io/kube-proxy/config/v1alpha1"
	kubelet "k8s.io/kubelet/config/v1beta1"
	kubeletdefaults "k8s.io/kubernetes/pkg/kubelet/apis/config/v1beta1"
	kubeproxydefaults "k8s.io/kubernetes/pkg/proxy/apis/config/v1alpha1"
)

// entry is [type, default].
type entry [2]any

var duration = reflect.TypeOf(metav1.Duration{})

// walk adds the fields of a struct under their dotted JSON names.
func walk(value reflect.Value, prefix string, fields map[string]entry) {
	for i := 0; i < value.NumField(); i++ {
		field := value.Type().Field(i)
		name, options, _ := strings.Cut(field.Tag.Get("json"), ",")
		if field.Type == reflect.TypeOf(metav1.TypeMeta{}) || name == "-" {
			continue
		}
		inner, unset := follow(value.Field(i))
		isStruct := inner.Kind() == reflect.Struct && inner.Type() != duration
		switch {
		case isStruct && (field.Anonymous || strings.Contains(options, "inline")):
			walk(inner, prefix, fields)
		case name == "":
			log.Fatalf("%s%s has no JSON name", prefix, field.Name)
		case isStruct && !marshalsItself(inner.Type()):
			walk(inner, prefix+name+".", fields)
		default:
			fields[prefix+name] = entry{describe(inner.Type()), fallback(inner, unset)}
		}
	}
}

// follow dereferences a pointer; of a nil one it gives the zero value and says so.
func follow(value reflect.Value) (reflect.Value, bool) {
	if value.Kind() != reflect.Pointer {
		return value, false
	}
	if value.IsNil() {
		return reflect.Zero(value.Type().Elem()), true
	}
	return value.Elem(), false
}

func marshalsItself(of reflect.Type) bool {
	return reflect.PointerTo(of).Implements(reflect.TypeOf((*json.Marshaler)(nil)).Elem())
}

// describe names a type as a person would write it.
func describe(of reflect.Type) string {
	switch {
	case of == duration:
		return "duration"
	case marshalsItself(of):
		return "string"
	}
	switch of.Kind() {
	case reflect.Slice:
		return "[]" + describe(of.Elem())
	case reflect.Map:
		return "map[string]" + describe(of.Elem())
	case reflect.Pointer:
		return describe(of.Elem())
	case reflect.Struct:
		return "object"
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64, reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return "int"
	case reflect.Float32, reflect.Float64:
		return "float"
	default:
		return of.Kind().String()
	}
}

// fallback is what counts when the field is not set, or nil where that is nothing.
func fallback(value reflect.Value, unset bool) any {
	empty := (value.Kind() == reflect.Slice || value.Kind() == reflect.Map) && value.Len() == 0
	if unset || empty {
		return nil
	}
	return value.Interface()
}

func fieldsOf(configuration any) map[string]entry {
	fields := map[string]entry{}
	walk(reflect.ValueOf(configuration).Elem(), "", fields)
	return fields
}

func main() {
	node, proxy := &kubelet.KubeletConfiguration{}, &kubeproxy.KubeProxyConfiguration{}
	kubeletdefaults.SetDefaults_KubeletConfiguration(node)
	kubeproxydefaults.SetDefaults_KubeProxyConfiguration(proxy)
	all := map[string]map[string]entry{"kubelet": fieldsOf(node), "kube-proxy": fieldsOf(proxy)}
	if err := json.NewEncoder(os.Stdout).Encode(all); err != nil {
		log.Fatal(err)
	}
}
