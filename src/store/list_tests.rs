//! Tests of the list value: conversions as in Redis 7.2, sharing, and behaviour against a plain vector.

use proptest::prelude::*;

use super::*;

fn limits(size: i32, plain: usize) -> Limits {
    Limits { list_max_listpack_size: size, list_plain_element: plain, ..Limits::default() }
}

fn list_of(values: &[&str], limits: &Limits) -> List {
    List::from_values(values.iter().map(|v| v.as_bytes()), limits)
}

fn texts(list: &List) -> Vec<String> {
    list.iter().map(|entry| String::from_utf8_lossy(&entry.to_vec()).into_owned()).collect()
}

/// Elements of each node; a plain node in brackets.
fn shape(list: &List) -> String {
    let node = |node: NodeRef<'_>| {
        let words: Vec<_> = node.iter().map(|e| String::from_utf8_lossy(&e.to_vec()).into_owned()).collect();
        match node {
            NodeRef::Packed(_) => words.join(" "),
            NodeRef::Plain(_) => format!("[{}]", words.join(" ")),
        }
    };
    list.nodes().map(node).collect::<Vec<_>>().join(" | ")
}

fn assert_consistent(list: &List) {
    let counts: Vec<usize> = list.nodes().map(NodeRef::count).collect();
    assert_eq!(counts.iter().sum::<usize>(), list.len());
    assert!(list.as_listpack().is_some() || counts.iter().all(|n| *n > 0), "{counts:?}");
}

#[test]
fn a_listpack_gives_way_before_it_is_too_large() {
    let check = |size: i32, count: usize, bytes: usize, expected: &str| {
        let limits = limits(size, 1 << 30);
        let value = vec![b'x'; bytes];
        let mut list = List::new();
        (0..count).for_each(|_| list.push_all(End::Right, [&value[..]], &limits));
        assert_eq!(list.encoding(), expected, "size {size}: {count} of {bytes} bytes");
        assert_eq!(list.len(), count);
    };
    check(3, 3, 10, "listpack");
    check(3, 4, 10, "quicklist");
    check(0, 1, 10, "listpack");
    check(0, 2, 10, "quicklist");
    // Under a limit by count, 8 KiB is still the most.
    check(100, 1, 8192 - 7, "listpack");
    check(100, 1, 8192 - 6, "quicklist");
    check(-1, 1, 4096 - 7, "listpack");
    check(-1, 1, 4096 - 6, "quicklist");
    check(-2, 1, 8192 - 7, "listpack");
    check(-5, 1, 65536 - 7, "listpack");
    check(-5, 1, 65536 - 6, "quicklist");
    check(-9, 1, 65536 - 6, "quicklist");
}

#[test]
fn a_quicklist_comes_back_below_half() {
    let by_count = limits(4, 1 << 30);
    let mut list = list_of(&["a", "b", "c", "d", "e"], &by_count);
    assert_eq!(list.encoding(), "quicklist");
    for (expected, len) in [("quicklist", 4), ("quicklist", 3), ("listpack", 2)] {
        list.drop_end(End::Right, 1);
        list.shrink(&by_count);
        assert_eq!((list.encoding(), list.len()), (expected, len));
    }

    let by_bytes = limits(-1, 1 << 30);
    let long = "x".repeat(1000);
    let mut list = list_of(&[long.as_str(); 5], &by_bytes);
    assert_eq!((list.encoding(), list.node_count()), ("quicklist", 2));
    list.drop_end(End::Right, 2);
    list.shrink(&by_bytes);
    assert_eq!((list.encoding(), list.node_count()), ("quicklist", 1));
    list.drop_end(End::Left, 1);
    list.shrink(&by_bytes);
    assert_eq!((list.encoding(), list.len()), ("listpack", 2));
}

#[test]
fn loading_chooses_the_form_by_the_full_limit() {
    let limits = limits(4, 5);
    let pack = |words: &[&str]| words.iter().copied().collect::<Listpack>();
    let check = |nodes: Vec<Node>, encoding: &str, expected: &str| {
        let list = List::from_nodes(nodes, &limits);
        assert_eq!((list.encoding(), shape(&list).as_str()), (encoding, expected));
        assert_consistent(&list);
    };
    check(vec![], "listpack", "");
    check(vec![Node::Packed(pack(&["a", "b", "c", "d"]))], "listpack", "a b c d");
    check(vec![Node::Packed(pack(&["a", "b", "c", "d", "e"]))], "quicklist", "a b c d e");
    check(
        vec![Node::Packed(pack(&["a"])), Node::Packed(pack(&[])), Node::Packed(pack(&["b"]))],
        "quicklist",
        "a | b",
    );
    check(vec![Node::Plain(Box::from(*b"large"))], "quicklist", "[large]");
    assert_eq!(List::from_listpack(pack(&["a", "b", "c", "d"]), &limits).encoding(), "listpack");
    assert_eq!(List::from_listpack(pack(&["a", "b", "c", "d", "e"]), &limits).encoding(), "quicklist");
}

#[test]
fn nodes_split_and_merge_as_in_redis() {
    let limits = limits(3, 5);
    let start = ["a", "b", "c", "d", "e", "f", "g"];
    assert_eq!(shape(&list_of(&start, &limits)), "a b c | d e f | g");
    let check_insert = |pivot: &str, value: &str, after: bool, expected: &str| {
        let mut list = list_of(&start, &limits);
        assert!(list.insert_beside(pivot.as_bytes(), value.as_bytes(), after, &limits));
        assert_eq!(shape(&list), expected, "{value} after ({after}) {pivot}");
        assert_consistent(&list);
    };
    check_insert("g", "1", true, "a b c | d e f | g 1");
    check_insert("g", "1", false, "a b c | d e f | 1 g");
    check_insert("f", "1", true, "a b c | d e f | 1 g");
    check_insert("c", "1", true, "a b c | 1 | d e f | g");
    check_insert("a", "1", false, "1 | a b c | d e f | g");
    check_insert("b", "1", true, "a b | 1 c | d e f | g");
    check_insert("b", "1", false, "a 1 | b c | d e f | g");
    check_insert("e", "1", true, "a b c | d e | 1 f g");
    check_insert("e", "large", true, "a b c | d e | [large] | f | g");
    check_insert("d", "large", false, "a b c | [large] | d e f | g");

    let check_set = |index: usize, value: &str, expected: &str| {
        let mut list = list_of(&start, &limits);
        assert!(list.set(index, value.as_bytes(), &limits));
        assert_eq!(shape(&list), expected, "{value} at {index}");
        assert_consistent(&list);
    };
    check_set(4, "1", "a b c | d 1 f | g");
    check_set(4, "large", "a b c | d | [large] | f g");
    check_set(3, "large", "a b c | [large] | e f | g");
    check_set(6, "large", "a b c | d e f | [large]");

    let mut list = list_of(&["large", "a"], &limits);
    assert_eq!(shape(&list), "[large] | a");
    assert!(list.set(0, b"giant", &limits) && list.set(0, b"b", &limits));
    assert_eq!((shape(&list).as_str(), list.encoding()), ("b a", "quicklist"));
    assert!(!list.set(2, b"c", &limits) && !list.insert_beside(b"z", b"c", true, &limits));
}

#[test]
fn ranges_read_both_ways() {
    for size in [3, -2] {
        let limits = limits(size, 1 << 30);
        let values: Vec<String> = (0..100).map(|n| n.to_string()).collect();
        let list = List::from_values(values.iter().map(|v| v.as_bytes()), &limits);
        for (start, count) in [(0, 100), (0, 1), (49, 3), (98, 9), (100, 1), (7, 0), (250, 1)] {
            let expected: Vec<String> = values.iter().skip(start).take(count).cloned().collect();
            let range = list.range(start, count);
            assert_eq!(range.len(), expected.len());
            let text = |e: Entry<'_>| String::from_utf8_lossy(&e.to_vec()).into_owned();
            assert_eq!(range.clone().map(text).collect::<Vec<_>>(), expected);
            let mut backwards: Vec<String> = range.rev().map(text).collect();
            backwards.reverse();
            assert_eq!(backwards, expected);
        }
        let mut both = list.iter();
        let mut seen = 0;
        while both.next().is_some() {
            seen += 1 + usize::from(both.next_back().is_some());
        }
        assert_eq!(seen, 100);
        assert_eq!(list.get(55), Some(Entry::Int(55)));
        assert_eq!(list.get(100), None);
    }
}

#[test]
fn a_clone_shares_nodes_and_keeps_its_content() {
    let limits = limits(4, 1 << 30);
    let mut list = List::from_values((0..40).map(|_| &b"value"[..]), &limits);
    let before = list.clone();
    let first = |list: &List| match list.node(0) {
        Some(NodeRef::Packed(list)) => list.as_bytes().as_ptr(),
        _ => panic!("a packed node"),
    };
    list.push_all(End::Right, [&b"more"[..]], &limits);
    list.drop_end(End::Right, 3);
    assert_eq!(first(&list), first(&before), "an untouched node is not copied");
    list.drop_end(End::Left, 1);
    assert_ne!(first(&list), first(&before));
    assert_eq!((before.len(), list.len()), (40, 37));
}

#[derive(Clone, Debug)]
enum Op {
    Push(bool, Vec<Vec<u8>>),
    Drop(bool, usize),
    Remove(usize, usize),
    Set(usize, Vec<u8>),
    Insert(Vec<u8>, Vec<u8>, bool),
    RemoveEqual(Vec<u8>, bool, usize),
    Share,
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        3 => (-3i64..300).prop_map(|n| n.to_string().into_bytes()),
        2 => "[ab]{0,2}".prop_map(String::into_bytes),
        1 => proptest::collection::vec(any::<u8>(), 0..120),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (any::<bool>(), proptest::collection::vec(value(), 1..6)).prop_map(|(l, v)| Op::Push(l, v)),
        2 => (any::<bool>(), 0usize..4).prop_map(|(l, n)| Op::Drop(l, n)),
        1 => (0usize..60, 0usize..30).prop_map(|(s, n)| Op::Remove(s, n)),
        2 => (0usize..60, value()).prop_map(|(at, v)| Op::Set(at, v)),
        3 => (value(), value(), any::<bool>()).prop_map(|(p, v, a)| Op::Insert(p, v, a)),
        2 => (value(), any::<bool>(), 1usize..4).prop_map(|(v, l, n)| Op::RemoveEqual(v, l, n)),
        1 => Just(Op::Share),
    ]
}

fn end(left: bool) -> End {
    if left { End::Left } else { End::Right }
}

/// The same change on a vector.
fn apply(model: &mut Vec<Vec<u8>>, op: &Op) {
    match op {
        Op::Push(true, values) => values.iter().for_each(|v| model.insert(0, v.clone())),
        Op::Push(false, values) => model.extend(values.iter().cloned()),
        Op::Drop(true, n) => drop(model.drain(..(*n).min(model.len()))),
        Op::Drop(false, n) => model.truncate(model.len() - (*n).min(model.len())),
        Op::Remove(start, n) => {
            let start = (*start).min(model.len());
            model.drain(start..(start + n).min(model.len()));
        }
        Op::Set(at, v) => {
            if let Some(old) = model.get_mut(*at) {
                old.clone_from(v);
            }
        }
        Op::Insert(pivot, v, after) => {
            if let Some(at) = model.iter().position(|x| x == pivot) {
                model.insert(at + usize::from(*after), v.clone());
            }
        }
        Op::RemoveEqual(v, left, n) => {
            for _ in 0..*n {
                let at = if *left {
                    model.iter().position(|x| x == v)
                } else {
                    model.iter().rposition(|x| x == v)
                };
                at.map(|at| model.remove(at));
            }
        }
        Op::Share => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn behaves_like_a_vector(
        size in prop_oneof![Just(0), Just(2), Just(5), Just(-1)],
        plain in prop_oneof![Just(2usize), Just(60), Just(1 << 30)],
        ops in proptest::collection::vec(op(), 0..60),
    ) {
        let limits = limits(size, plain);
        let mut list = List::new();
        let mut model = Vec::new();
        let mut shared: Vec<(List, Vec<Vec<u8>>)> = Vec::new();
        for op in &ops {
            match op {
                Op::Push(left, values) => list.push_all(end(*left), values.iter().map(Vec::as_slice), &limits),
                Op::Drop(left, n) => list.drop_end(end(*left), *n),
                Op::Remove(start, n) => list.remove_range(*start, *n),
                Op::Set(at, v) => prop_assert_eq!(list.set(*at, v, &limits), *at < model.len()),
                Op::Insert(pivot, v, after) => {
                    prop_assert_eq!(list.insert_beside(pivot, v, *after, &limits), model.contains(pivot));
                }
                Op::RemoveEqual(v, left, n) => {
                    let there = model.iter().filter(|x| *x == v).count();
                    prop_assert_eq!(list.remove_equal(v, end(*left), *n), there.min(*n));
                }
                Op::Share => shared.push((list.clone(), model.clone())),
            }
            apply(&mut model, op);
            if !matches!(op, Op::Push(..)) && !model.is_empty() {
                list.shrink(&limits);
            }
            assert_consistent(&list);
            prop_assert_eq!(list.iter().map(|e| e.to_vec()).collect::<Vec<_>>(), model.clone());
        }
        for (list, model) in shared {
            prop_assert_eq!(list.iter().rev().map(|e| e.to_vec()).collect::<Vec<_>>(),
                model.into_iter().rev().collect::<Vec<_>>());
        }
        let again = List::from_values(list.iter().map(|e| e.to_vec()).collect::<Vec<_>>().iter().map(Vec::as_slice), &limits);
        prop_assert_eq!(texts(&again), texts(&list));
    }
}
