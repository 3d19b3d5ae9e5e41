"""Start tasks from a script, and from threads of it."""

from concurrent.futures import ThreadPoolExecutor

from proj.tasks import divide, mul

if __name__ == "__main__":
    print(divide.delay(6, 3).id)
    with ThreadPoolExecutor(2) as threads:
        for result in threads.map(divide.delay, [8, 9], [4, 3]):
            print(result.id)
        print(threads.submit(mul.delay, 6, 7).result().id)
